output "bucket" {
  description = "Name of the bucket; keys begin with hourly/, daily/ or weekly/."
  value       = aws_s3_bucket.this.id
}

output "bucket_arn" {
  description = "Its ARN, known once it keeps versions: what the other region copies to."
  value       = aws_s3_bucket.this.arn
  depends_on  = [aws_s3_bucket_versioning.this]
}

output "writer_policy" {
  description = "IAM policy of whoever backs up: may put, never delete or shorten."
  value       = data.aws_iam_policy_document.writer.json
}

output "reader_policy" {
  description = "IAM policy of whoever restores or verifies."
  value       = data.aws_iam_policy_document.reader.json
}
