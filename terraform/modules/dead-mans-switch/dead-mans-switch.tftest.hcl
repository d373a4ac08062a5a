mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-north-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-north-1:111122223333:silence" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-north-1:111122223333:key/1" }
  }
}

variables {
  name    = "leeward"
  watched = ["eu-central-1", "eu-west-1"]
  emails  = ["ops@example.com"]
}

run "silence_of_either_region_rings" {
  assert {
    condition     = alltrue([for region, alarm in aws_cloudwatch_metric_alarm.silence : alarm.treat_missing_data == "breaching" && alarm.dimensions.Region == region && length(alarm.alarm_actions) == 1]) && length(aws_cloudwatch_metric_alarm.silence) == 2
    error_message = "missing figures would be taken for good ones"
  }

  assert {
    condition     = output.heartbeat == { region = "eu-north-1", namespace = "Leeward/leeward" }
    error_message = jsonencode(output.heartbeat)
  }
}

run "a_switch_in_a_watched_region_is_refused" {
  command = plan
  variables { watched = ["eu-north-1", "eu-west-1"] }
  expect_failures = [aws_sns_topic.silence]
}

run "a_switch_that_watches_nobody_is_refused" {
  command = plan
  variables { watched = [] }
  expect_failures = [var.watched]
}

run "one_missing_figure_is_no_silence" {
  command = plan
  variables { minutes = 1 }
  expect_failures = [var.minutes]
}
