mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::leeward-pri-backup-111122223333" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/copy" }
  }
}

variables {
  name        = "leeward-pri"
  kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1"
  copy_to     = { bucket_arn = "arn:aws:s3:::leeward-dr-backup-111122223333", kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1" }
}

run "backups_are_locked_versioned_and_encrypted" {
  assert {
    condition     = aws_s3_bucket.this.object_lock_enabled && one(one(aws_s3_bucket_object_lock_configuration.this.rule).default_retention).mode == "GOVERNANCE" && aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "a backup could be deleted or overwritten"
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).kms_master_key_id == var.kms_key_arn
    error_message = "backups are encrypted by another key"
  }
}

run "each_kind_has_its_time_and_old_versions_go" {
  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.id => rule.expiration[0].days } == { hourly = 7, daily = 35, weekly = 400 } && alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.noncurrent_version_expiration[0].noncurrent_days == 30])
    error_message = jsonencode(aws_s3_bucket_lifecycle_configuration.this.rule)
  }
}

run "the_copy_goes_without_delete_markers" {
  assert {
    condition     = aws_s3_bucket_replication_configuration.this.rule[0].delete_marker_replication[0].status == "Disabled" && aws_s3_bucket_replication_configuration.this.rule[0].destination[0].bucket == var.copy_to.bucket_arn
    error_message = "a deletion would be copied, or the copy goes elsewhere"
  }

  assert {
    condition     = !contains(flatten(data.aws_iam_policy_document.copy.statement[*].actions), "s3:ReplicateDelete")
    error_message = "the copy's role may delete"
  }
}

run "compliance_by_variable" {
  variables {
    lock_mode = "COMPLIANCE"
    lock_days = 30
    keep_days = { hourly = 30 }
  }

  assert {
    condition     = one(one(aws_s3_bucket_object_lock_configuration.this.rule).default_retention).mode == "COMPLIANCE" && one(one(aws_s3_bucket_object_lock_configuration.this.rule).default_retention).days == 30
    error_message = "the lock is another than asked for"
  }
}

run "an_unknown_mode_is_refused" {
  command = plan
  variables { lock_mode = "NONE" }
  expect_failures = [var.lock_mode]
}

run "a_lock_that_outlives_what_it_locks_is_refused" {
  command = plan
  variables { lock_days = 30 }
  expect_failures = [var.keep_days]
}

run "hours_that_outlive_days_are_refused" {
  command = plan
  variables { keep_days = { hourly = 60 } }
  expect_failures = [var.keep_days]
}
