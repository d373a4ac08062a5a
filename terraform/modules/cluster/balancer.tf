# One internal load balancer a region: port 2379 leads to members that may take writes, port 2381 to those that are
# fresh enough for reads. A target group without a healthy target lets everything through (so does every NLB): in the
# standby region port 2379 then reaches members that forward writes, or refuse them and say why.

locals {
  read_port = 2381

  doors = {
    write = { port = local.client_port, path = "/primary" }
    read  = { port = local.read_port, path = "/replica?lag=${var.replica_lag}" }
  }
}

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:a network load balancer logs TLS listeners only, and TLS is between client and member; flow logs have the connections
  name                             = var.name
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = [for az in var.network.azs : var.network.private_subnets[az].id]
  security_groups                  = [aws_security_group.balancer.id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
}

resource "aws_lb_target_group" "this" {
  for_each = local.doors

  name                 = "${var.name}-${each.key}"
  vpc_id               = var.network.vpc_id
  target_type          = "instance"
  protocol             = "TCP"
  port                 = local.client_port
  deregistration_delay = 30

  # A member that turns standby or fenced must not keep its clients: their connections end, and they come again.
  connection_termination = true

  target_health_state {
    enable_unhealthy_connection_termination = true
  }

  health_check {
    protocol            = var.health_protocol
    port                = tostring(local.metrics_port)
    path                = each.value.path
    matcher             = "200"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "this" {
  for_each = local.doors

  load_balancer_arn = aws_lb.this.arn
  protocol          = "TCP" # TLS is between client and member
  port              = each.value.port

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}

resource "aws_lb_target_group_attachment" "this" {
  for_each = merge([
    for name in keys(local.members) : { for door in keys(local.doors) : "${name}-${door}" => { member = name, door = door } }
  ]...)

  target_group_arn = aws_lb_target_group.this[each.value.door].arn
  target_id        = aws_instance.member[each.value.member].id
  port             = local.client_port
}
