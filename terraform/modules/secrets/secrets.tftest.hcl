mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:leeward/x-AbCdEf" }
  }
}

mock_provider "aws" {
  alias = "replica"

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
}

variables {
  name                = "leeward"
  secrets             = { alertmanager = "keys of receivers" }
  kms_key_arn         = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"
  replica_kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1"
}

run "each_region_has_its_copy_under_its_own_key" {
  assert {
    condition     = one(aws_secretsmanager_secret.this["alertmanager"].replica).region == "eu-central-1" && one(aws_secretsmanager_secret.this["alertmanager"].replica).kms_key_id == var.replica_kms_key_arn
    error_message = "the other region has no copy, or one that needs this region's key"
  }

  assert {
    condition     = output.arns.alertmanager.replica == "arn:aws:secretsmanager:eu-central-1:111122223333:secret:leeward/x-AbCdEf"
    error_message = jsonencode(output.arns)
  }
}

run "a_host_reads_its_own_regions_copy_only" {
  assert {
    condition     = data.aws_iam_policy_document.reader["alertmanager/replica"].statement[0].resources == toset([output.arns.alertmanager.replica]) && data.aws_iam_policy_document.reader["alertmanager/replica"].statement[1].resources == toset([var.replica_kms_key_arn])
    error_message = "a reader may read more than its copy"
  }
}

run "a_secret_that_is_gone_at_once_is_refused" {
  command = plan
  variables { recovery_days = 0 }
  expect_failures = [var.recovery_days]
}

run "a_name_that_is_none_is_refused" {
  command = plan
  variables {
    secrets = { "Alert Manager" = "keys" }
  }
  expect_failures = [var.secrets]
}
