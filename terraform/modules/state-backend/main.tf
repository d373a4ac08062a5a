# Where Terraform keeps the state of the two regions: outside of the primary one, with a copy elsewhere. Locking is by
# a lock file in the same bucket, so there is no table that stands in some region.

data "aws_caller_identity" "this" {}

data "aws_region" "home" {}

data "aws_region" "copy" {
  provider = aws.copy

  lifecycle {
    postcondition {
      condition     = self.name != data.aws_region.home.name
      error_message = "the copy of the state stands in ${self.name} like the state itself: give aws.copy another region."
    }
  }
}

resource "aws_s3_bucket" "state" {
  #checkov:skip=CKV2_AWS_62:nobody waits for events of this bucket
  #checkov:skip=CKV_AWS_18:who reads and writes stands in CloudTrail's data events, which belong to the account; a bucket of logs would need the same again
  bucket = "${var.name}-state-${data.aws_caller_identity.this.account_id}"

  # A bucket with states is not destroyed, nor is then the key that opens them.
  depends_on = [var.kms_key_arn]
}

resource "aws_s3_bucket" "copy" {
  #checkov:skip=CKV2_AWS_62:nobody waits for events of this bucket
  #checkov:skip=CKV_AWS_18:who reads and writes stands in CloudTrail's data events, which belong to the account; a bucket of logs would need the same again
  provider = aws.copy

  bucket = "${var.name}-state-copy-${data.aws_caller_identity.this.account_id}"

  depends_on = [data.aws_region.copy, var.copy_kms_key_arn]
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_versioning" "copy" {
  provider = aws.copy

  bucket = aws_s3_bucket.copy.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "copy" {
  provider = aws.copy

  bucket = aws_s3_bucket.copy.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.copy_kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket = aws_s3_bucket.state.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_public_access_block" "copy" {
  provider = aws.copy

  bucket = aws_s3_bucket.copy.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    id     = "older-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.keep_versions_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.state]
}

resource "aws_s3_bucket_lifecycle_configuration" "copy" {
  provider = aws.copy

  bucket = aws_s3_bucket.copy.id

  rule {
    id     = "older-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.keep_versions_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.copy]
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }
}

data "aws_iam_policy_document" "copy" {
  statement {
    actions   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
    resources = [aws_s3_bucket.state.arn]
  }

  statement {
    actions   = ["s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging"]
    resources = ["${aws_s3_bucket.state.arn}/*"]
  }

  statement {
    actions   = ["s3:ReplicateObject", "s3:ReplicateTags"]
    resources = ["${aws_s3_bucket.copy.arn}/*"]
  }

  statement {
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]
  }

  statement {
    actions   = ["kms:GenerateDataKey", "kms:Encrypt"]
    resources = [var.copy_kms_key_arn]
  }
}

resource "aws_iam_role" "copy" {
  name               = "${var.name}-state-copy"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "copy" {
  name   = "copy"
  role   = aws_iam_role.copy.id
  policy = data.aws_iam_policy_document.copy.json
}

resource "aws_s3_bucket_replication_configuration" "state" {
  bucket = aws_s3_bucket.state.id
  role   = aws_iam_role.copy.arn

  rule {
    id       = "copy"
    status   = "Enabled"
    priority = 0

    filter {}

    delete_marker_replication {
      status = "Disabled"
    }

    source_selection_criteria {
      sse_kms_encrypted_objects {
        status = "Enabled"
      }
    }

    destination {
      bucket        = aws_s3_bucket.copy.arn
      storage_class = "STANDARD"

      encryption_configuration {
        replica_kms_key_id = var.copy_kms_key_arn
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.state, aws_s3_bucket_versioning.copy]
}
