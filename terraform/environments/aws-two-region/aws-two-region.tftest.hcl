# Bad input only: what a sound one makes is applied for real by the suite.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

mock_provider "aws" {
  alias = "dr"

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

mock_provider "aws" {
  alias = "witness"

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  primary       = { region = "eu-central-1", vpc_cidr = "10.10.0.0/16", azs = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  dr            = { region = "eu-west-1", vpc_cidr = "10.20.0.0/16", azs = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
  allowed_cidrs = ["10.0.0.0/8"]
}

run "a_block_that_is_none_is_refused" {
  command = plan
  variables {
    primary = { region = "eu-central-1", vpc_cidr = "10.10.0.0/160", azs = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  expect_failures = [var.primary]
}

run "an_even_number_of_members_is_refused" {
  command = plan
  variables {
    dr = { region = "eu-west-1", vpc_cidr = "10.20.0.0/16", azs = ["eu-west-1a", "eu-west-1b", "eu-west-1c"], members = 2 }
  }
  expect_failures = [var.dr]
}

run "the_same_region_twice_is_refused" {
  command = plan
  variables {
    dr = { region = "eu-central-1", vpc_cidr = "10.20.0.0/16", azs = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  expect_failures = [var.dr]
}

run "blocks_that_overlap_are_refused" {
  command = plan
  variables {
    dr = { region = "eu-west-1", vpc_cidr = "10.10.64.0/18", azs = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
  }
  expect_failures = [var.dr]
}

run "zones_of_another_region_are_refused" {
  command = plan
  variables {
    primary = { region = "eu-central-1", vpc_cidr = "10.10.0.0/16", azs = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
  }
  expect_failures = [var.primary]
}

run "a_witness_in_a_region_that_it_watches_is_refused" {
  command = plan
  variables { witness_region = "eu-west-1" }
  expect_failures = [var.witness_region]
}

run "a_size_for_a_member_that_is_not_there_is_refused" {
  command = plan
  variables {
    instance_type_of = { leeward-2 = "m6i.xlarge" }
  }
  expect_failures = [var.instance_type_of]
}
