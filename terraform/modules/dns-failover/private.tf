# Mode private: nothing is open to the internet. The balancer of the standby region counts the members that answer
# /primary with 200; two alarms over that count are the checks. Two, not one and its inverse: what an inverted check
# says while there are no figures is not documented, so each states it by itself.

resource "aws_route53_zone" "private" {
  for_each = local.private

  name    = var.private_zone.name
  comment = "${var.name}: follows the primary role"

  dynamic "vpc" {
    for_each = var.private_zone.vpcs

    content {
      vpc_id     = vpc.value.vpc_id
      vpc_region = vpc.value.region
    }
  }
}

locals {
  healthy_members = {
    namespace   = "AWS/NetworkELB"
    metric_name = "HealthyHostCount"
    dimensions = {
      LoadBalancer = var.dr.load_balancer
      TargetGroup  = var.dr.write_target_group
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "promoted" {
  for_each = local.private

  alarm_name          = "${var.name}-is-primary"
  alarm_description   = "The standby region has been promoted: DNS leads to it while this is in alarm."
  namespace           = local.healthy_members.namespace
  metric_name         = local.healthy_members.metric_name
  dimensions          = local.healthy_members.dimensions
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "missing"
}

resource "aws_cloudwatch_metric_alarm" "standby" {
  for_each = local.private

  alarm_name          = "${var.name}-is-not-primary"
  alarm_description   = "The standby region follows: its everyday. DNS leads to the other region while this is in alarm."
  namespace           = local.healthy_members.namespace
  metric_name         = local.healthy_members.metric_name
  dimensions          = local.healthy_members.dimensions
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "missing"
}

# Healthy unless the standby region was promoted; without figures the name stays where it was at first.
resource "aws_route53_health_check" "no_alarm_of_promotion" {
  for_each = local.private

  type                            = "CLOUDWATCH_METRIC"
  cloudwatch_alarm_name           = aws_cloudwatch_metric_alarm.promoted["this"].alarm_name
  cloudwatch_alarm_region         = data.aws_region.here.name
  insufficient_data_health_status = "Healthy"

  tags = { Name = "${var.name}: is not primary" }
}

resource "aws_route53_health_check" "no_alarm_of_standby" {
  for_each = local.private

  type                            = "CLOUDWATCH_METRIC"
  cloudwatch_alarm_name           = aws_cloudwatch_metric_alarm.standby["this"].alarm_name
  cloudwatch_alarm_region         = data.aws_region.here.name
  insufficient_data_health_status = "Unhealthy"

  tags = { Name = "${var.name}: is primary" }
}
