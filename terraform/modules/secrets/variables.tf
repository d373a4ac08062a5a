variable "name" {
  description = "Name of the deployment; secrets are leeward/NAME/..."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "secrets" {
  description = "Name to what it is for. Values are put by operators or Ansible, never by Terraform: its state would hold them."
  type        = map(string)

  validation {
    condition     = alltrue([for name in keys(var.secrets) : can(regex("^[a-z][a-z0-9-]{0,62}$", name))])
    error_message = "names of secrets are lower-case letters, digits and hyphens, a letter first."
  }
}

variable "kms_key_arn" {
  description = "Key of the default provider's region."
  type        = string
}

variable "replica_kms_key_arn" {
  description = "That key's copy in the region of aws.replica."
  type        = string
}

variable "recovery_days" {
  description = "Days during which a deleted secret can be taken back, 7 to 30."
  type        = number
  default     = 30

  validation {
    condition     = var.recovery_days >= 7 && var.recovery_days <= 30
    error_message = "recovery_days is 7 to 30."
  }
}
