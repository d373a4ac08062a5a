# One name that follows the primary role. The standby region says who is primary, in both records: the first record is
# healthy while the standby region is *not* primary, the second while it is. So a promotion moves the name by itself,
# through Route 53's data plane; nobody has to change a record in a disaster, and the lost region is asked nothing.
#
# All resources belong to the standby region's provider; Route 53 itself is global.

data "aws_region" "here" {}

locals {
  public  = var.mode == "public" ? { this = true } : {}
  private = var.mode == "private" ? { this = true } : {}

  zone_id = var.mode == "public" ? var.zone_id : aws_route53_zone.private["this"].zone_id

  health_check = {
    primary = var.mode == "public" ? aws_route53_health_check.dr_is_not_primary["this"].id : aws_route53_health_check.no_alarm_of_promotion["this"].id
    dr      = var.mode == "public" ? aws_route53_health_check.dr_is_primary["this"].id : aws_route53_health_check.no_alarm_of_standby["this"].id
  }
}

# No aliases: the answer for a load balancer's alias lives for 60 s.
resource "aws_route53_record" "primary" {
  zone_id         = local.zone_id
  name            = var.record_name
  type            = "CNAME"
  ttl             = var.ttl
  records         = [var.primary_target]
  set_identifier  = "primary"
  health_check_id = local.health_check.primary

  failover_routing_policy {
    type = "PRIMARY"
  }
}

resource "aws_route53_record" "dr" {
  zone_id         = local.zone_id
  name            = var.record_name
  type            = "CNAME"
  ttl             = var.ttl
  records         = [var.dr.target]
  set_identifier  = "dr"
  health_check_id = local.health_check.dr

  failover_routing_policy {
    type = "SECONDARY"
  }
}
