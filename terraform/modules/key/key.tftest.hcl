mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1" }
  }
}

mock_provider "aws" {
  alias = "replica"

  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_resource "aws_kms_replica_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1" }
  }
}

variables {
  name        = "leeward/data"
  description = "volumes"
}

run "the_other_region_holds_the_same_key_as_its_own" {
  assert {
    condition     = aws_kms_key.this.multi_region && aws_kms_replica_key.this.primary_key_arn == aws_kms_key.this.arn
    error_message = "the key exists in one region only"
  }

  assert {
    condition     = aws_kms_alias.replica.target_key_id == aws_kms_replica_key.this.key_id
    error_message = "the alias of the other region leads to another key"
  }

  assert {
    condition     = output.replica_arn == "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"
    error_message = "the replica's ARN is ${output.replica_arn}"
  }
}

run "the_key_rotates_and_is_not_gone_at_once" {
  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "no rotation, or a window of ${aws_kms_key.this.deletion_window_in_days} days"
  }
}

run "only_services_asked_for_may_use_it" {
  variables { services = ["logs"] }

  assert {
    condition     = length(data.aws_iam_policy_document.key.statement) == 2
    error_message = "statements: ${jsonencode(data.aws_iam_policy_document.key.statement[*].sid)}"
  }

  assert {
    condition     = toset(one(data.aws_iam_policy_document.key.statement[1].principals).identifiers) == toset(["logs.eu-central-1.amazonaws.com", "logs.eu-west-1.amazonaws.com"])
    error_message = "CloudWatch Logs of a region may not use the key"
  }
}

run "a_key_that_is_gone_within_a_day_is_refused" {
  command = plan
  variables { deletion_days = 1 }
  expect_failures = [var.deletion_days]
}

run "an_unknown_service_is_refused" {
  command = plan
  variables { services = ["lambda"] }
  expect_failures = [var.services]
}
