# Mode public: Route 53's checkers ask a member of the standby region for /primary. They come from the internet, so
# there is a balancer for them alone; its security group lets in the checkers' addresses and nobody else, and the
# port behind it knows health paths and metrics only.

resource "aws_route53_health_check" "dr_is_primary" {
  for_each = local.public

  type              = "HTTPS"
  fqdn              = aws_lb.health["this"].dns_name
  port              = 443
  resource_path     = "/primary"
  enable_sni        = true
  request_interval  = 10
  failure_threshold = 2

  tags = { Name = "${var.name}: is primary" }
}

resource "aws_route53_health_check" "dr_is_not_primary" {
  for_each = local.public

  type               = "HTTPS"
  fqdn               = aws_lb.health["this"].dns_name
  port               = 443
  resource_path      = "/primary"
  enable_sni         = true
  request_interval   = 10
  failure_threshold  = 2
  invert_healthcheck = true

  tags = { Name = "${var.name}: is not primary" }
}

data "aws_ec2_managed_prefix_list" "checkers" {
  for_each = local.public

  name = "com.amazonaws.${data.aws_region.here.name}.route53-healthchecks"
}

resource "aws_security_group" "health" {
  #checkov:skip=CKV2_AWS_5:it is the balancer's, which checkov does not see through for_each
  for_each = local.public

  name        = "${var.name}-health"
  description = "Leeward: Route 53 health checkers"
  vpc_id      = var.dr.vpc_id

  tags = { Name = "${var.name}-health" }
}

resource "aws_vpc_security_group_ingress_rule" "health" {
  for_each = local.public

  security_group_id = aws_security_group.health["this"].id
  description       = "Route 53 health checkers"
  prefix_list_id    = data.aws_ec2_managed_prefix_list.checkers["this"].id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "health" {
  for_each = local.public

  security_group_id            = aws_security_group.health["this"].id
  description                  = "to members: health paths"
  referenced_security_group_id = var.dr.member_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 9090
  to_port                      = 9090
}

resource "aws_vpc_security_group_ingress_rule" "member" {
  for_each = local.public

  security_group_id            = var.dr.member_security_group_id
  description                  = "Route 53 health checks, by their load balancer"
  referenced_security_group_id = aws_security_group.health["this"].id
  ip_protocol                  = "tcp"
  from_port                    = 9090
  to_port                      = 9090
}

resource "aws_lb" "health" {
  #checkov:skip=CKV_AWS_91:a network load balancer logs TLS listeners only, and TLS is between client and member; flow logs have the connections
  for_each = local.public

  name                             = "${var.name}-health"
  load_balancer_type               = "network"
  internal                         = false
  subnets                          = var.dr.public_subnets
  security_groups                  = [aws_security_group.health["this"].id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
}

# Without a healthy target, which is the standby's everyday, the balancer asks any member: the answer is 503, and 200
# as soon as that member is primary, without waiting for the balancer to notice.
resource "aws_lb_target_group" "health" {
  for_each = local.public

  name                 = "${var.name}-health"
  vpc_id               = var.dr.vpc_id
  target_type          = "instance"
  protocol             = "TCP"
  port                 = 9090
  preserve_client_ip   = "false" # members know the balancer's group, not the checkers'
  deregistration_delay = 30

  health_check {
    protocol            = var.health_protocol
    path                = "/primary"
    matcher             = "200"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "health" {
  for_each = local.public

  load_balancer_arn = aws_lb.health["this"].arn
  protocol          = "TCP"
  port              = 443

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.health["this"].arn
  }
}

resource "aws_lb_target_group_attachment" "health" {
  for_each = var.mode == "public" ? var.dr.instances : {}

  target_group_arn = aws_lb_target_group.health["this"].arn
  target_id        = each.value
  port             = 9090
}
