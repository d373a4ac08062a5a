mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:111122223333:log-group:flow" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/flow" }
  }

  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/net/leeward/1" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/leeward/1" }
  }
}

variables {
  name          = "leeward-dr"
  cidr          = "10.20.0.0/16"
  azs           = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
  ami_id        = "ami-1"
  kms_key_arn   = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"
  client_cidrs  = ["10.0.0.0/8"]
  peer_cidrs    = ["10.10.0.0/20"]
  scraper_cidrs = ["10.10.0.0/20"]
}

run "members_stand_in_this_region_with_ids_of_their_own" {
  assert {
    condition     = [for name, member in output.cluster.members : "${member.id} ${member.address}"] == ["11 10.20.0.10", "12 10.20.16.10", "13 10.20.32.10"]
    error_message = jsonencode(output.cluster.members)
  }
}

run "a_block_that_is_none_is_refused" {
  command = plan
  variables { cidr = "10.20.0.0" }
  expect_failures = [var.cidr]
}

run "an_even_number_of_members_is_refused" {
  command = plan
  variables { members = 2 }
  expect_failures = [var.members]
}
