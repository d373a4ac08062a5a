output "backend_config" {
  description = "Settings of the backend s3: bucket, region, encryption, lock file."
  value = {
    bucket       = aws_s3_bucket.state.id
    region       = data.aws_region.home.name
    encrypt      = true
    use_lockfile = true
  }
}

output "copy_bucket" {
  description = "Bucket of the copy."
  value       = aws_s3_bucket.copy.id
}
