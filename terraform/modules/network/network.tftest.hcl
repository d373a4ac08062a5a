mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:111122223333:log-group:flow" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/flow" }
  }
}

variables {
  name        = "leeward-east"
  cidr        = "10.10.0.0/16"
  azs         = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1"
}

run "each_zone_has_its_subnets_and_its_own_way_out" {
  assert {
    condition     = [for az in var.azs : aws_subnet.private[az].cidr_block] == ["10.10.0.0/20", "10.10.16.0/20", "10.10.32.0/20"]
    error_message = "private subnets: ${jsonencode([for subnet in aws_subnet.private : subnet.cidr_block])}"
  }

  assert {
    condition     = length(distinct([for subnet in aws_subnet.private : subnet.availability_zone])) == 3
    error_message = "private subnets share a zone"
  }

  assert {
    condition     = alltrue([for az in var.azs : aws_route.nat[az].nat_gateway_id == aws_nat_gateway.this[az].id])
    error_message = "a zone's default route leads through another zone"
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.public : !subnet.map_public_ip_on_launch])
    error_message = "an instance would get a public address without asking"
  }
}

run "services_are_reached_inside_of_the_region" {
  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.eu-central-1.s3" && length(aws_vpc_endpoint.s3.route_table_ids) == 3
    error_message = "backups would leave through NAT"
  }

  assert {
    condition     = alltrue([for name in ["ssm", "ssmmessages", "ec2messages", "secretsmanager", "kms"] : length(aws_vpc_endpoint.service[name].subnet_ids) == 3])
    error_message = "an interface endpoint is missing in a zone"
  }
}

run "all_flows_are_logged_and_encrypted" {
  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && aws_cloudwatch_log_group.flow.kms_key_id == var.kms_key_arn
    error_message = "flow logs miss traffic or stand unencrypted"
  }
}

run "one_nat_gateway_serves_all_zones_when_asked" {
  variables {
    nat_per_az      = false
    session_manager = false
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && alltrue([for az in var.azs : aws_route.nat[az].nat_gateway_id == aws_nat_gateway.this["eu-central-1a"].id])
    error_message = "routes lead elsewhere than the one NAT gateway"
  }

  assert {
    condition     = length(aws_vpc_endpoint.service) == 0
    error_message = "endpoints were made though not asked for"
  }
}

run "a_block_that_is_none_is_refused" {
  command = plan
  variables { cidr = "10.10.0.0/33" }
  expect_failures = [var.cidr]
}

run "an_address_that_is_not_the_networks_own_is_refused" {
  command = plan
  variables { cidr = "10.10.1.0/16" }
  expect_failures = [var.cidr]
}

run "a_block_too_small_is_refused" {
  command = plan
  variables { cidr = "10.10.0.0/24" }
  expect_failures = [var.cidr]
}

run "two_zones_are_refused" {
  command = plan
  variables { azs = ["eu-central-1a", "eu-central-1a", "eu-central-1b"] }
  expect_failures = [var.azs]
}
