# A third region that hears from both regions' monitoring, and says so when it does not. Silence is the alarm: nothing
# has to work in the two regions for it to ring.

data "aws_region" "here" {}

locals {
  namespace = "Leeward/${var.name}"
}

resource "aws_sns_topic" "silence" {
  name              = "${var.name}-silence"
  kms_master_key_id = aws_kms_key.silence.arn

  lifecycle {
    precondition {
      condition     = !contains(var.watched, data.aws_region.here.name)
      error_message = "the dead man's switch stands in ${data.aws_region.here.name}, which it watches: it would go dark with it. Choose a third region."
    }
  }
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

# Of its own: a key of another region would be something of that region that the alarm needs.
data "aws_iam_policy_document" "silence" {
  #checkov:skip=CKV_AWS_109:in a key's policy the resource * is that key
  #checkov:skip=CKV_AWS_111:in a key's policy the resource * is that key
  #checkov:skip=CKV_AWS_356:in a key's policy the resource * is that key
  statement {
    sid       = "AccountByIam"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:root"]
    }
  }

  statement {
    sid       = "Alarms"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }
}

resource "aws_kms_key" "silence" {
  description         = "${var.name}: alarms of the dead man's switch"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.silence.json
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.emails)

  topic_arn = aws_sns_topic.silence.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "silence" {
  for_each = var.watched

  alarm_name          = "${var.name}-silence-${each.key}"
  alarm_description   = "The monitoring of ${each.key} has been silent for ${var.minutes} minutes: region lost, or nobody watches it. Ask the other region's Prometheus first."
  namespace           = local.namespace
  metric_name         = "Heartbeat"
  dimensions          = { Region = each.key }
  statistic           = "SampleCount"
  period              = 60
  evaluation_periods  = var.minutes
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.silence.arn]
  ok_actions          = [aws_sns_topic.silence.arn]
}
