# Secrets that stand in both regions, each copy encrypted by its own region's key. Only their places are made here.

data "aws_region" "home" {}

data "aws_region" "replica" {
  provider = aws.replica
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:values are rotated by those who issue them, not by a function in one region
  for_each = var.secrets

  name                    = "leeward/${var.name}/${each.key}"
  description             = each.value
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.recovery_days

  replica {
    region     = data.aws_region.replica.name
    kms_key_id = var.replica_kms_key_arn
  }
}

locals {
  # A replica's ARN is the secret's own with the other region in it.
  arns = {
    for name, secret in aws_secretsmanager_secret.this : name => {
      home    = secret.arn
      replica = replace(secret.arn, ":${data.aws_region.home.name}:", ":${data.aws_region.replica.name}:")
    }
  }
}

# For each secret and region one policy, so that a host of a region reads that region's copy, and only what it needs.
data "aws_iam_policy_document" "reader" {
  for_each = merge([for name in keys(var.secrets) : { "${name}/home" = { name = name, side = "home", key = var.kms_key_arn, region = data.aws_region.home.name }, "${name}/replica" = { name = name, side = "replica", key = var.replica_kms_key_arn, region = data.aws_region.replica.name } }]...)

  statement {
    sid       = "Read"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [local.arns[each.value.name][each.value.side]]
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [each.value.key]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${each.value.region}.amazonaws.com"]
    }
  }
}
