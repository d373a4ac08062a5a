variable "name" {
  description = "Alias of the key in both regions, without \"alias/\"."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9/-]{0,199}$", var.name))
    error_message = "name is lower-case letters, digits, hyphens and slashes, a letter first."
  }
}

variable "description" {
  description = "What the key encrypts."
  type        = string
}

variable "deletion_days" {
  description = "Days from the deletion of the key until nothing that it encrypted can be read any more, 7 to 30."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_days >= 7 && var.deletion_days <= 30
    error_message = "deletion_days is 7 to 30: AWS keeps a deleted key for that long, and everything depends on it."
  }
}

variable "services" {
  description = "AWS services that use the key by themselves for what they hold, such as \"logs\" and \"cloudwatch\" (alarms that publish to an encrypted topic)."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.services, ["logs", "cloudwatch"])) == 0
    error_message = "services are of: logs, cloudwatch. Others act with the rights of whoever calls them."
  }
}
