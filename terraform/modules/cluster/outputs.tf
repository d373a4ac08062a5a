output "members" {
  description = "Name to what the inventory needs to know of each member."
  value = {
    for name, member in local.members : name => {
      id          = member.id
      zone        = member.zone
      address     = member.address
      instance_id = aws_instance.member[name].id
      data_volume = aws_ebs_volume.data[name].id
      wal_volume  = aws_ebs_volume.wal[name].id
    }
  }
}

output "write_endpoint" {
  description = "Where clients write; also for linearizable reads, watches and leases."
  value       = "${aws_lb.this.dns_name}:${local.client_port}"
}

output "read_endpoint" {
  description = "Where clients read what may be a little old."
  value       = "${aws_lb.this.dns_name}:${local.read_port}"
}

output "balancer" {
  description = "The balancer, by name for DNS, and by the ends of ARNs that CloudWatch knows it and its groups by."
  value = {
    dns_name          = aws_lb.this.dns_name
    arn_suffix        = aws_lb.this.arn_suffix
    target_group      = { for door, group in aws_lb_target_group.this : door => group.arn_suffix }
    security_group_id = aws_security_group.balancer.id
  }
}

output "member_security_group_id" {
  description = "Security group of the members."
  value       = aws_security_group.member.id
}

output "member_role_arn" {
  description = "Role of the members."
  value       = aws_iam_role.member.arn
}
