mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1" }
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

  mock_resource "aws_kms_replica_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1" }
  }
}

variables {
  region      = "eu-west-1"
  copy_region = "eu-central-1"
}

run "what_comes_out_is_a_backend_outside_of_the_primary_region" {
  assert {
    condition     = strcontains(output.backend_tf, "    use_lockfile = true\n") && strcontains(output.backend_tf, "    region       = \"eu-west-1\"\n")
    error_message = output.backend_tf
  }
}

run "a_copy_beside_the_state_is_refused" {
  command = plan
  variables { copy_region = "eu-west-1" }
  expect_failures = [var.copy_region]
}
