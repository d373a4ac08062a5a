variable "name" {
  description = "Name of the deployment; buckets are NAME-state-ACCOUNT and NAME-state-copy-ACCOUNT."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "kms_key_arn" {
  description = "Key of the default provider's region."
  type        = string
}

variable "copy_kms_key_arn" {
  description = "That key's copy in the region of aws.copy."
  type        = string
}

variable "keep_versions_days" {
  description = "For how long older versions of the state are kept: the way back after a wrong apply."
  type        = number
  default     = 90

  validation {
    condition     = var.keep_versions_days >= 7
    error_message = "keep_versions_days is at least 7."
  }
}
