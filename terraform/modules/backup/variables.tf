variable "name" {
  description = "Name of the deployment in this region; the bucket is NAME-backup-ACCOUNT."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "kms_key_arn" {
  description = "Key of this region that encrypts backups; the copy of a multi-Region key."
  type        = string
}

variable "copy_to" {
  description = "The bucket of the other region, and that region's copy of the key: what is put here stands there within 15 minutes."
  type        = object({ bucket_arn = string, kms_key_arn = string })
}

variable "lock_mode" {
  description = "GOVERNANCE: a lock can be lifted by whoever may change the bucket's policy, in two steps. COMPLIANCE: by nobody, not even the account's root, until it ends."
  type        = string
  default     = "GOVERNANCE"

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.lock_mode)
    error_message = "lock_mode is GOVERNANCE or COMPLIANCE."
  }
}

variable "lock_days" {
  description = "For how long no version of a backup can be deleted or overwritten."
  type        = number
  default     = 7

  validation {
    condition     = var.lock_days >= 1 && var.lock_days <= 3650 && floor(var.lock_days) == var.lock_days
    error_message = "lock_days is 1 to 3650 whole days."
  }
}

variable "keep_days" {
  description = "For how long backups under hourly/, daily/ and weekly/ are kept."
  type        = object({ hourly = optional(number, 7), daily = optional(number, 35), weekly = optional(number, 400) })
  default     = {}

  validation {
    condition     = alltrue([for days in values(var.keep_days) : days >= var.lock_days])
    error_message = "keep_days is at least lock_days for each: a locked version cannot be removed earlier."
  }

  validation {
    condition     = var.keep_days.hourly <= var.keep_days.daily && var.keep_days.daily <= var.keep_days.weekly
    error_message = "keep_days grows from hourly over daily to weekly."
  }
}

variable "noncurrent_days" {
  description = "For how long a version is kept after it was overwritten or deleted: the time to notice and take it back."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 1
    error_message = "noncurrent_days is at least 1."
  }
}
