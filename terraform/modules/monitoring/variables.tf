variable "name" {
  description = "Name of the deployment in this region; the host is NAME-monitoring."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "network" {
  description = "The region's network: what module network puts out."
  type = object({
    vpc_id          = string
    azs             = list(string)
    private_subnets = map(object({ id = string, cidr = string }))
  })
}

variable "other_cidrs" {
  description = "Private subnets of the other region: its members are scraped, its Alertmanager is this one's pair."
  type        = list(string)

  validation {
    condition     = length(var.other_cidrs) > 0 && alltrue([for cidr in var.other_cidrs : can(cidrnetmask(cidr))])
    error_message = "other_cidrs is a list of IPv4 blocks such as [\"10.20.0.0/20\"]: a region that nobody watches from outside goes dark unseen."
  }
}

variable "operator_cidrs" {
  description = "Who may open Prometheus and Alertmanager, and come by SSH. Empty: Session Manager only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.operator_cidrs : try(tonumber(split("/", cidr)[1]) >= 16, false)])
    error_message = "operator_cidrs is a list of IPv4 blocks of at most a /16: name the control hosts."
  }
}

variable "balancer" {
  description = "The region's balancer: the ends of ARNs by which CloudWatch knows it and its group for reads."
  type        = object({ load_balancer = string, read_target_group = string })
}

variable "members" {
  description = "Name to instance id of the region's members, whose status checks are watched."
  type        = map(string)
}

variable "instance_type" {
  description = "Type of the host's instance."
  type        = string
  default     = "t3.medium"
}

variable "ami_id" {
  description = "Image of the host, Debian 12 for x86-64; null: the newest of Debian's own."
  type        = string
  default     = null
}

variable "volume_gib" {
  description = "Size of the volume for Prometheus' series."
  type        = number
  default     = 50

  validation {
    condition     = var.volume_gib >= 10 && var.volume_gib <= 16384
    error_message = "volume_gib is 10 to 16384."
  }
}

variable "kms_key_arn" {
  description = "Key of this region that encrypts volumes and the topic; CloudWatch may use it."
  type        = string
}

variable "emails" {
  description = "Addresses that get the alarms; each has to confirm once."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "emails holds something that is not an address."
  }
}

variable "heartbeat" {
  description = "Where the host reports that it lives: the dead man's switch's region and namespace."
  type        = object({ region = string, namespace = string })
}

variable "host_policies" {
  description = "Further rights of the host, by name: IAM policy documents, such as the secrets module's reader policy."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "The host cannot be destroyed while it is true."
  type        = bool
  default     = true
}
