output "dns_name" {
  description = "The name that clients use."
  value       = aws_route53_record.primary.name
}

output "zone_id" {
  description = "The hosted zone that holds it."
  value       = local.zone_id
}
