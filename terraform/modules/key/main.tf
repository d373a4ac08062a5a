# A multi-Region key: the same material in both regions, each copy usable without the other. What one region
# encrypted, the other reads when the first is gone.

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "home" {}

data "aws_region" "replica" {
  provider = aws.replica
}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:in a key's policy the resource * is that key
  #checkov:skip=CKV_AWS_111:in a key's policy the resource * is that key
  #checkov:skip=CKV_AWS_356:in a key's policy the resource * is that key
  # Without this statement nobody could change the policy again; who may use the key is then a matter of IAM.
  statement {
    sid       = "AccountByIam"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:root"]
    }
  }

  dynamic "statement" {
    for_each = contains(var.services, "logs") ? [true] : []

    content {
      sid       = "Logs"
      actions   = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
      resources = ["*"]

      principals {
        type        = "Service"
        identifiers = [for region in [data.aws_region.home.name, data.aws_region.replica.name] : "logs.${region}.amazonaws.com"]
      }

      condition {
        test     = "ArnLike"
        variable = "kms:EncryptionContext:aws:logs:arn"
        values   = ["arn:${data.aws_partition.this.partition}:logs:*:${data.aws_caller_identity.this.account_id}:*"]
      }
    }
  }

  dynamic "statement" {
    for_each = contains(var.services, "cloudwatch") ? [true] : []

    content {
      sid       = "Alarms"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
      resources = ["*"]

      principals {
        type        = "Service"
        identifiers = ["cloudwatch.amazonaws.com"]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [data.aws_caller_identity.this.account_id]
      }
    }
  }
}

resource "aws_kms_key" "this" {
  description             = var.description
  multi_region            = true
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_days
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_replica_key" "this" {
  provider = aws.replica

  description             = var.description
  primary_key_arn         = aws_kms_key.this.arn
  deletion_window_in_days = var.deletion_days
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_kms_alias" "replica" {
  provider = aws.replica

  name          = "alias/${var.name}"
  target_key_id = aws_kms_replica_key.this.key_id
}
