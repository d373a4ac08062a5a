variable "name" {
  description = "Name of the deployment; the namespace of the heartbeat is Leeward/NAME."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "watched" {
  description = "Regions whose monitoring reports that it lives. The provider's region must be none of them."
  type        = set(string)

  validation {
    condition     = length(var.watched) > 0
    error_message = "watched is empty: nobody would be missed."
  }
}

variable "minutes" {
  description = "Silence of a region's monitoring after which somebody is told."
  type        = number
  default     = 5

  validation {
    condition     = var.minutes >= 2 && var.minutes <= 60
    error_message = "minutes is 2 to 60: one missing figure is no silence."
  }
}

variable "emails" {
  description = "Addresses that are told; each has to confirm once. Not by way of the monitoring that is silent."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "emails holds something that is not an address."
  }
}
