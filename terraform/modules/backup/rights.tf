# What whoever backs up, and whoever restores, may do.

# Puts and nothing else. The denials name what no other policy of the same role may grant either: a host that was taken
# over can add backups, not take one away, shorten its lock, or change the rules.
data "aws_iam_policy_document" "writer" {
  statement {
    sid       = "Put"
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = [for prefix in local.prefixes : "${aws_s3_bucket.this.arn}/${prefix}/*"]
  }

  statement {
    sid       = "Encrypt" # Decrypt: the parts of a large object are read back when they are joined
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${data.aws_region.here.name}.amazonaws.com"]
    }
  }

  statement {
    sid    = "NeverDeleteOrShorten"
    effect = "Deny"
    actions = [
      "s3:DeleteObject*",
      "s3:PutObjectRetention",
      "s3:PutObjectLegalHold",
      "s3:BypassGovernanceRetention",
      "s3:PutLifecycleConfiguration",
      "s3:PutBucket*",
      "s3:DeleteBucket*",
      "s3:PutReplicationConfiguration",
      "s3:PutEncryptionConfiguration",
    ]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*", var.copy_to.bucket_arn, "${var.copy_to.bucket_arn}/*"]
  }
}

data "aws_iam_policy_document" "reader" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket", "s3:ListBucketVersions"]
    resources = [aws_s3_bucket.this.arn]
  }

  statement {
    sid       = "Get"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${aws_s3_bucket.this.arn}/*"]
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${data.aws_region.here.name}.amazonaws.com"]
    }
  }
}
