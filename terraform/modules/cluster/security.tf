# Who may reach what: one group for the balancer, one for the members.

resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "Leeward: clients to the load balancer"
  vpc_id      = var.network.vpc_id

  tags = { Name = "${var.name}-balancer" }
}

resource "aws_security_group" "member" {
  name        = "${var.name}-member"
  description = "Leeward: members"
  vpc_id      = var.network.vpc_id

  tags = { Name = "${var.name}-member" }
}

locals {
  # name => what may come in to the balancer: writes and reads have a port each.
  balancer_in = merge([
    for cidr in var.client_cidrs : {
      "writes ${cidr}" = { cidr = cidr, port = local.client_port, description = "writes of clients" }
      "reads ${cidr}"  = { cidr = cidr, port = local.read_port, description = "stale reads of clients" }
    }
  ]...)

  # name => what may come in to members from addresses.
  member_in = merge(
    { for cidr in var.client_cidrs : "client ${cidr}" => { cidr = cidr, port = local.client_port, description = "clients that name members" } },
    { for cidr in var.peer_cidrs : "peer ${cidr}" => { cidr = cidr, port = local.peer_port, description = "members of the other region" } },
    { for cidr in var.scraper_cidrs : "scraper ${cidr}" => { cidr = cidr, port = local.metrics_port, description = "Prometheus" } },
    merge([
      for cidr in var.operator_cidrs : {
        for port in [22, local.client_port, local.admin_port] : "operator ${cidr} ${port}" => { cidr = cidr, port = port, description = "operators" }
      }
    ]...),
  )
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each = local.balancer_in

  security_group_id = aws_security_group.balancer.id
  description       = each.value.description
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each = { client = local.client_port, health = local.metrics_port }

  security_group_id            = aws_security_group.balancer.id
  description                  = "to members: ${each.key}"
  referenced_security_group_id = aws_security_group.member.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "member" {
  for_each = local.member_in

  security_group_id = aws_security_group.member.id
  description       = each.value.description
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "member_from_balancer" {
  for_each = { client = local.client_port, health = local.metrics_port }

  security_group_id            = aws_security_group.member.id
  description                  = "from the load balancer: ${each.key}"
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# Members among themselves: Raft and knocking.
resource "aws_vpc_security_group_ingress_rule" "member_peer" {
  security_group_id            = aws_security_group.member.id
  description                  = "members of this region"
  referenced_security_group_id = aws_security_group.member.id
  ip_protocol                  = "tcp"
  from_port                    = local.peer_port
  to_port                      = local.peer_port
}

resource "aws_vpc_security_group_egress_rule" "member_peer" {
  security_group_id            = aws_security_group.member.id
  description                  = "members of this region"
  referenced_security_group_id = aws_security_group.member.id
  ip_protocol                  = "tcp"
  from_port                    = local.peer_port
  to_port                      = local.peer_port
}

resource "aws_vpc_security_group_egress_rule" "member_to_other_region" {
  for_each = toset(var.peer_cidrs)

  security_group_id = aws_security_group.member.id
  description       = "members of the other region"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = local.peer_port
  to_port           = local.peer_port
}

# Packages, backups, AWS itself. Names and time come from the VPC's own addresses, which no group filters.
resource "aws_vpc_security_group_egress_rule" "member_services" {
  for_each = { https = 443, http = 80 }

  security_group_id = aws_security_group.member.id
  description       = "packages and AWS: ${each.key}"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
}
