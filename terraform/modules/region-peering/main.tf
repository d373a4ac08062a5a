# One link between two VPCs in two regions. AWS carries it, encrypted, on its own backbone; there is no device to fail
# and nothing to size. Each zone has the route in its own table.

data "aws_region" "dr" {
  provider = aws.dr
}

resource "aws_vpc_peering_connection" "this" {
  vpc_id      = var.primary.vpc_id
  peer_vpc_id = var.dr.vpc_id
  peer_region = data.aws_region.dr.name

  tags = { Name = "${var.name}-regions" }
}

resource "aws_vpc_peering_connection_accepter" "this" {
  provider = aws.dr

  vpc_peering_connection_id = aws_vpc_peering_connection.this.id
  auto_accept               = true

  tags = { Name = "${var.name}-regions" }
}

resource "aws_route" "to_dr" {
  for_each = var.primary.route_tables

  route_table_id            = each.value
  destination_cidr_block    = var.dr.cidr
  vpc_peering_connection_id = aws_vpc_peering_connection_accepter.this.id
}

resource "aws_route" "to_primary" {
  provider = aws.dr
  for_each = var.dr.route_tables

  route_table_id            = each.value
  destination_cidr_block    = var.primary.cidr
  vpc_peering_connection_id = aws_vpc_peering_connection_accepter.this.id
}
