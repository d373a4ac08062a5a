mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_data "aws_ami" {
    defaults = { id = "ami-0debian12" }
  }

  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:loadbalancer/net/leeward/1", dns_name = "leeward.elb.example" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/leeward/1" }
  }
}

variables {
  name = "leeward-east"
  network = {
    vpc_id = "vpc-1"
    cidr   = "10.10.0.0/16"
    azs    = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    private_subnets = {
      "eu-central-1a" = { id = "subnet-1", cidr = "10.10.0.0/20" }
      "eu-central-1b" = { id = "subnet-2", cidr = "10.10.16.0/20" }
      "eu-central-1c" = { id = "subnet-3", cidr = "10.10.32.0/20" }
    }
  }
  first_id       = 1
  kms_key_arn    = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1"
  client_cidrs   = ["10.0.0.0/8"]
  operator_cidrs = ["10.10.240.0/28"]
  peer_cidrs     = ["10.20.0.0/20", "10.20.16.0/20"]
  scraper_cidrs  = ["10.10.0.0/20", "10.20.0.0/20"]
}

run "each_zone_has_a_member_with_volumes_of_its_own" {
  assert {
    condition     = [for name in ["leeward-east-1", "leeward-east-2", "leeward-east-3"] : output.members[name].zone] == [for az in var.network.azs : az]
    error_message = "members: ${jsonencode(output.members)}"
  }

  assert {
    condition     = [for name in ["leeward-east-1", "leeward-east-2", "leeward-east-3"] : aws_instance.member[name].private_ip] == ["10.10.0.10", "10.10.16.10", "10.10.32.10"]
    error_message = "a member's address is not the one that its replacement will get"
  }

  assert {
    condition = alltrue([for name, member in output.members :
      aws_ebs_volume.data[name].availability_zone == member.zone && aws_ebs_volume.wal[name].availability_zone == member.zone &&
      aws_ebs_volume.data[name].encrypted && aws_ebs_volume.wal[name].encrypted &&
      aws_ebs_volume.data[name].kms_key_id == var.kms_key_arn && aws_ebs_volume.wal[name].kms_key_id == var.kms_key_arn
    ])
    error_message = "a volume stands in another zone than its member, or unencrypted"
  }

  assert {
    condition     = alltrue([for name, member in output.members : strcontains(aws_instance.member[name].user_data, "mount_volume ${member.data_volume} /var/lib/leeward\n") && strcontains(aws_instance.member[name].user_data, "mount_volume ${member.wal_volume} /var/lib/leeward-wal\n")])
    error_message = "a member mounts other volumes than its own"
  }
}

run "metadata_needs_a_token_and_roots_are_encrypted" {
  assert {
    condition     = alltrue([for member in aws_instance.member : member.metadata_options[0].http_tokens == "required" && member.metadata_options[0].http_put_response_hop_limit == 1 && member.root_block_device[0].encrypted])
    error_message = "IMDSv1 answers, or a root volume is not encrypted"
  }
}

run "the_balancer_asks_who_may_write_and_who_may_be_read" {
  assert {
    condition     = aws_lb_target_group.this["write"].health_check[0].path == "/primary" && aws_lb_target_group.this["read"].health_check[0].path == "/replica?lag=1s"
    error_message = "the balancer asks something else"
  }

  assert {
    condition     = alltrue([for group in aws_lb_target_group.this : one(group.target_health_state).enable_unhealthy_connection_termination])
    error_message = "clients stay connected to a member that is not to be used"
  }

  assert {
    condition     = aws_lb.this.internal && aws_lb.this.enable_deletion_protection && length(aws_lb_target_group_attachment.this) == 6
    error_message = "the balancer is public, unprotected, or knows not all members"
  }
}

run "ports_are_open_to_their_role_only" {
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.member : rule.from_port == rule.to_port && rule.cidr_ipv4 != "0.0.0.0/0"])
    error_message = "a rule opens more than one port, or one to everybody"
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.member : rule.from_port if contains(var.peer_cidrs, rule.cidr_ipv4) && rule.description != "Prometheus"]) == toset([2380])
    error_message = "the other region's members reach more than the peer port"
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.member : rule.cidr_ipv4 if rule.from_port == 22 || rule.from_port == 8080]) == toset(var.operator_cidrs)
    error_message = "SSH or the admin port are open to others than operators"
  }
}

run "one_member_may_be_of_another_size" {
  variables {
    instance_type_of = { leeward-east-2 = "m6i.xlarge" }
  }

  assert {
    condition     = [for name in ["leeward-east-1", "leeward-east-2", "leeward-east-3"] : aws_instance.member[name].instance_type] == ["m6i.large", "m6i.xlarge", "m6i.large"]
    error_message = "types: ${jsonencode([for member in aws_instance.member : member.instance_type])}"
  }
}

run "five_members_stand_two_by_two" {
  variables { members = 5 }

  assert {
    condition     = output.members["leeward-east-4"].address == "10.10.0.11" && output.members["leeward-east-5"].zone == "eu-central-1b"
    error_message = "members: ${jsonencode(output.members)}"
  }
}

run "an_even_number_of_members_is_refused" {
  command = plan
  variables { members = 4 }
  expect_failures = [var.members]
}

run "the_whole_internet_as_clients_is_refused" {
  command = plan
  variables { client_cidrs = ["0.0.0.0/0"] }
  expect_failures = [var.client_cidrs]
}

run "a_block_that_is_none_is_refused" {
  command = plan
  variables { peer_cidrs = ["10.20.0.0/40"] }
  expect_failures = [var.peer_cidrs]
}

run "a_size_for_a_member_that_is_not_there_is_refused" {
  command = plan
  variables {
    instance_type_of = { leeward-east-9 = "m6i.xlarge" }
  }
  expect_failures = [var.instance_type_of]
}

run "a_lag_without_unit_is_refused" {
  command = plan
  variables { replica_lag = "1000" }
  expect_failures = [var.replica_lag]
}
