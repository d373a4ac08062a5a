mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/copy" }
  }
}

mock_provider "aws" {
  alias = "copy"

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::leeward-state-copy-111122223333" }
  }
}

mock_provider "aws" {
  alias = "same"

  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::leeward-state-copy-111122223333" }
  }
}

variables {
  name             = "leeward"
  kms_key_arn      = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"
  copy_kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1"
}

run "the_state_keeps_versions_has_a_lock_and_a_copy_elsewhere" {
  assert {
    condition     = output.backend_config == { bucket = aws_s3_bucket.state.id, region = "eu-west-1", encrypt = true, use_lockfile = true }
    error_message = jsonencode(output.backend_config)
  }

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled" && aws_s3_bucket_replication_configuration.state.rule[0].destination[0].bucket == aws_s3_bucket.copy.arn
    error_message = "a wrong apply could not be taken back, or a lost region takes the state with it"
  }
}

run "a_copy_in_the_same_region_is_refused" {
  command = plan

  providers = {
    aws      = aws
    aws.copy = aws.same
  }

  expect_failures = [data.aws_region.copy]
}

run "a_state_without_a_way_back_is_refused" {
  command = plan
  variables { keep_versions_days = 1 }
  expect_failures = [var.keep_versions_days]
}
