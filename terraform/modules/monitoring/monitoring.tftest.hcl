mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-west-1:111122223333:alarms" }
  }
}

variables {
  name = "leeward-dr"
  network = {
    vpc_id          = "vpc-2"
    azs             = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
    private_subnets = { "eu-west-1a" = { id = "subnet-1", cidr = "10.20.0.0/20" }, "eu-west-1b" = { id = "subnet-2", cidr = "10.20.16.0/20" }, "eu-west-1c" = { id = "subnet-3", cidr = "10.20.32.0/20" } }
  }
  other_cidrs    = ["10.10.0.0/20", "10.10.16.0/20"]
  operator_cidrs = ["10.20.240.0/28"]
  balancer       = { load_balancer = "net/leeward-dr/1", read_target_group = "targetgroup/leeward-dr-read/1" }
  members        = { leeward-dr-11 = "i-11", leeward-dr-12 = "i-12", leeward-dr-13 = "i-13" }
  kms_key_arn    = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"
  emails         = ["ops@example.com"]
  heartbeat      = { region = "eu-north-1", namespace = "Leeward/leeward" }
  ami_id         = "ami-1"
}

run "both_regions_are_scraped_and_alertmanagers_are_a_pair" {
  assert {
    condition     = toset([for rule in aws_vpc_security_group_egress_rule.host : rule.cidr_ipv4 if rule.from_port == 9090]) == toset(["10.20.0.0/20", "10.20.16.0/20", "10.20.32.0/20", "10.10.0.0/20", "10.10.16.0/20"])
    error_message = "a subnet with members is not scraped"
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.host : "${rule.ip_protocol} ${rule.cidr_ipv4}" if rule.from_port == 9094]) == toset(["tcp 10.10.0.0/20", "udp 10.10.0.0/20", "tcp 10.10.16.0/20", "udp 10.10.16.0/20"])
    error_message = "the Alertmanagers do not hear each other"
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.host : rule.cidr_ipv4 if contains([22, 9090], rule.from_port)]) == toset(var.operator_cidrs)
    error_message = "Prometheus is open to others than operators"
  }
}

run "every_host_and_the_majority_are_watched" {
  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.status)) == toset(["leeward-dr-11", "leeward-dr-12", "leeward-dr-13", "leeward-dr-monitoring"])
    error_message = jsonencode(keys(aws_cloudwatch_metric_alarm.status))
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.readable.threshold == 2 && aws_cloudwatch_metric_alarm.readable.treat_missing_data == "breaching"
    error_message = "the alarm is silent with one member of three left"
  }

  assert {
    condition     = aws_sns_topic.alarms.kms_master_key_id == var.kms_key_arn && aws_sns_topic_subscription.email["ops@example.com"].protocol == "email"
    error_message = "nobody is told, or in the clear"
  }
}

run "the_heartbeat_is_all_that_it_may_write_elsewhere" {
  assert {
    condition     = one([for statement in data.aws_iam_policy_document.host.statement : toset(flatten(statement.condition[*].values)) if statement.sid == "Heartbeat"]) == toset(["Leeward/leeward", "eu-north-1"])
    error_message = "the host may write other figures"
  }
}

run "a_region_that_nobody_watches_from_outside_is_refused" {
  command = plan
  variables { other_cidrs = [] }
  expect_failures = [var.other_cidrs]
}

run "something_that_is_no_address_is_refused" {
  command = plan
  variables { emails = ["nobody"] }
  expect_failures = [var.emails]
}
