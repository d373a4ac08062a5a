# What CloudWatch sees without Prometheus: hosts that AWS has lost, and a region too few of whose members answer.
# They hold whatever role the region has; roles are Prometheus' matter.

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.emails)

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "status" {
  for_each = merge(var.members, { (local.host) = aws_instance.host.id })

  alarm_name          = "${each.key}-status"
  alarm_description   = "AWS finds the instance or its host broken. A member: replace it (terraform apply -replace); its volumes stay."
  namespace           = "AWS/EC2"
  metric_name         = "StatusCheckFailed"
  dimensions          = { InstanceId = each.value }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "readable" {
  alarm_name          = "${var.name}-readable"
  alarm_description   = "Fewer members than a majority are fresh enough for reads: leewardctl cluster status."
  namespace           = "AWS/NetworkELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = var.balancer.load_balancer, TargetGroup = var.balancer.read_target_group }
  statistic           = "Maximum" # of the zones' balancers: each counts all members
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "LessThanThreshold"
  threshold           = floor(length(var.members) / 2) + 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
