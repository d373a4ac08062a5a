mock_provider "aws" {}

mock_provider "aws" {
  alias = "dr"

  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
}

variables {
  name    = "leeward"
  primary = { vpc_id = "vpc-1", cidr = "10.10.0.0/16", route_tables = { "eu-central-1a" = "rtb-1", "eu-central-1b" = "rtb-2" } }
  dr      = { vpc_id = "vpc-2", cidr = "10.20.0.0/16", route_tables = { "eu-west-1a" = "rtb-3", "eu-west-1b" = "rtb-4" } }
}

run "each_zone_of_each_region_has_the_route_to_the_other" {
  assert {
    condition     = alltrue([for zone, route in aws_route.to_dr : route.destination_cidr_block == "10.20.0.0/16" && route.route_table_id == var.primary.route_tables[zone]]) && length(aws_route.to_dr) == 2
    error_message = "a zone of the primary region has no route to the standby region"
  }

  assert {
    condition     = alltrue([for zone, route in aws_route.to_primary : route.destination_cidr_block == "10.10.0.0/16" && route.route_table_id == var.dr.route_tables[zone]]) && length(aws_route.to_primary) == 2
    error_message = "a zone of the standby region has no route to the primary region"
  }

  assert {
    condition     = aws_vpc_peering_connection.this.peer_region == "eu-west-1" && aws_vpc_peering_connection_accepter.this.auto_accept
    error_message = "the connection leads elsewhere, or waits for somebody to accept it"
  }
}

run "a_block_inside_of_the_other_is_refused" {
  command = plan
  variables {
    dr = { vpc_id = "vpc-2", cidr = "10.10.128.0/20", route_tables = {} }
  }
  expect_failures = [var.dr]
}

run "a_block_around_the_other_is_refused" {
  command = plan
  variables {
    dr = { vpc_id = "vpc-2", cidr = "10.0.0.0/8", route_tables = {} }
  }
  expect_failures = [var.dr]
}

run "a_block_that_is_none_is_refused" {
  command = plan
  variables {
    dr = { vpc_id = "vpc-2", cidr = "10.20.0.0", route_tables = {} }
  }
  expect_failures = [var.dr]
}
