output "arn" {
  description = "The key in the region of the default provider."
  value       = aws_kms_key.this.arn
}

output "replica_arn" {
  description = "The key in the region of the provider aws.replica."
  value       = aws_kms_replica_key.this.arn
}
