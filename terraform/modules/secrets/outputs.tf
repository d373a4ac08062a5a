output "arns" {
  description = "Name of each secret to its ARN in both regions: home, replica."
  value       = local.arns
}

output "reader_policies" {
  description = "NAME/home and NAME/replica to the IAM policy of who may read that copy."
  value       = { for name, document in data.aws_iam_policy_document.reader : name => document.json }
}
