mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/net/health/1" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/health/1" }
  }
}

variables {
  name           = "leeward-dr"
  mode           = "public"
  record_name    = "leeward.example.com"
  zone_id        = "Z1"
  primary_target = "pri.elb.example"
  dr = {
    target                   = "dr.elb.example"
    load_balancer            = "net/leeward-dr/1"
    write_target_group       = "targetgroup/leeward-dr-write/1"
    vpc_id                   = "vpc-2"
    public_subnets           = ["subnet-1", "subnet-2", "subnet-3"]
    instances                = { leeward-dr-11 = "i-1", leeward-dr-12 = "i-2" }
    member_security_group_id = "sg-1"
  }
}

run "the_standby_region_alone_decides_in_both_records" {
  assert {
    condition     = aws_route53_record.primary.health_check_id == aws_route53_health_check.dr_is_not_primary["this"].id && aws_route53_record.dr.health_check_id == aws_route53_health_check.dr_is_primary["this"].id
    error_message = "a record hangs on the wrong check"
  }

  assert {
    condition     = aws_route53_health_check.dr_is_not_primary["this"].fqdn == aws_route53_health_check.dr_is_primary["this"].fqdn && aws_route53_health_check.dr_is_not_primary["this"].invert_healthcheck && aws_route53_health_check.dr_is_primary["this"].invert_healthcheck != true
    error_message = "the checks are not each other's inverse"
  }

  assert {
    condition     = aws_route53_record.primary.ttl <= 30 && length(aws_route53_record.primary.alias) == 0
    error_message = "answers live too long"
  }
}

run "only_the_checkers_come_in" {
  assert {
    condition     = aws_vpc_security_group_ingress_rule.health["this"].prefix_list_id == data.aws_ec2_managed_prefix_list.checkers["this"].id && aws_vpc_security_group_ingress_rule.health["this"].cidr_ipv4 == null && data.aws_ec2_managed_prefix_list.checkers["this"].name == "com.amazonaws.eu-west-1.route53-healthchecks"
    error_message = "the health checks' balancer is open to others"
  }

  assert {
    condition     = length(aws_lb_target_group_attachment.health) == 2
    error_message = "the checkers do not reach every member"
  }
}

run "private_mode_opens_nothing_and_counts_healthy_members" {
  variables {
    mode        = "private"
    record_name = "leeward.internal.example"
    private_zone = {
      name = "internal.example"
      vpcs = [{ vpc_id = "vpc-2", region = "eu-west-1" }, { vpc_id = "vpc-1", region = "eu-central-1" }]
    }
  }

  assert {
    condition     = length(aws_lb.health) == 0 && length(aws_security_group.health) == 0 && length(aws_vpc_security_group_ingress_rule.member) == 0
    error_message = "private mode has something that the internet reaches"
  }

  assert {
    condition     = length(aws_route53_zone.private["this"].vpc) == 2 && aws_route53_record.primary.zone_id == aws_route53_zone.private["this"].zone_id
    error_message = "a region's VPC does not see the zone"
  }

  assert {
    condition     = alltrue([for alarm in [aws_cloudwatch_metric_alarm.promoted["this"], aws_cloudwatch_metric_alarm.standby["this"]] : alarm.dimensions.TargetGroup == "targetgroup/leeward-dr-write/1" && alarm.period == 60 && alarm.statistic == "Maximum"])
    error_message = "an alarm watches something else than the members that may take writes, or in a way that Route 53 cannot follow"
  }

  assert {
    condition     = aws_route53_record.primary.health_check_id == aws_route53_health_check.no_alarm_of_promotion["this"].id && aws_route53_record.dr.health_check_id == aws_route53_health_check.no_alarm_of_standby["this"].id
    error_message = "a record hangs on the wrong alarm"
  }
}

run "an_answer_that_lives_for_minutes_is_refused" {
  command = plan
  variables { ttl = 60 }
  expect_failures = [var.ttl]
}

run "public_mode_without_a_zone_is_refused" {
  command = plan
  variables { zone_id = null }
  expect_failures = [var.zone_id]
}

run "a_private_name_outside_of_its_zone_is_refused" {
  command = plan
  variables {
    mode         = "private"
    private_zone = { name = "internal.example", vpcs = [{ vpc_id = "vpc-2", region = "eu-west-1" }] }
  }
  expect_failures = [var.private_zone]
}
