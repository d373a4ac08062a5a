# Out: metrics of members of both regions, the other Alertmanager, HTTPS. In: the other Alertmanager, operators.

resource "aws_security_group" "host" {
  name        = local.host
  description = "Leeward: Prometheus and Alertmanager"
  vpc_id      = var.network.vpc_id

  tags = { Name = local.host }
}

locals {
  rules_in = merge(
    merge([
      for cidr in var.other_cidrs : {
        "pair tcp ${cidr}" = { cidr = cidr, port = 9094, protocol = "tcp", description = "the other region's Alertmanager" }
        "pair udp ${cidr}" = { cidr = cidr, port = 9094, protocol = "udp", description = "the other region's Alertmanager" }
        "alerts ${cidr}"   = { cidr = cidr, port = 9093, protocol = "tcp", description = "the other region's Prometheus" }
      }
    ]...),
    merge([
      for cidr in var.operator_cidrs : {
        for port in [22, 9090, 9093] : "operator ${cidr} ${port}" => { cidr = cidr, port = port, protocol = "tcp", description = "operators" }
      }
    ]...),
  )

  rules_out = merge(
    { for cidr in concat(local.own_cidrs, var.other_cidrs) : "scrape ${cidr}" => { cidr = cidr, port = 9090, protocol = "tcp", description = "metrics of members" } },
    merge([
      for cidr in var.other_cidrs : {
        "pair tcp ${cidr}" = { cidr = cidr, port = 9094, protocol = "tcp", description = "the other region's Alertmanager" }
        "pair udp ${cidr}" = { cidr = cidr, port = 9094, protocol = "udp", description = "the other region's Alertmanager" }
        "alerts ${cidr}"   = { cidr = cidr, port = 9093, protocol = "tcp", description = "alerts to the other region" }
      }
    ]...),
    {
      https = { cidr = "0.0.0.0/0", port = 443, protocol = "tcp", description = "packages, AWS, whoever is paged" }
      http  = { cidr = "0.0.0.0/0", port = 80, protocol = "tcp", description = "packages" }
    },
  )
}

resource "aws_vpc_security_group_ingress_rule" "host" {
  for_each = local.rules_in

  security_group_id = aws_security_group.host.id
  description       = each.value.description
  cidr_ipv4         = each.value.cidr
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "host" {
  for_each = local.rules_out

  security_group_id = aws_security_group.host.id
  description       = each.value.description
  cidr_ipv4         = each.value.cidr
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = each.value.port
}
