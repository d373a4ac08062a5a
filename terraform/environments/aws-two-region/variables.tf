variable "name" {
  description = "Name of the deployment; begins every resource's name. Two deployments in one account need two."
  type        = string
  default     = "leeward"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "name is 1 to 20 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "primary" {
  description = "The region that is primary at first start: its name, a block of addresses (/16 to /20), three zones, the number of members, the image (null: Debian's newest)."
  type = object({
    region   = string
    vpc_cidr = string
    azs      = list(string)
    members  = optional(number, 3)
    ami_id   = optional(string)
  })

  validation {
    condition     = can(cidrnetmask(var.primary.vpc_cidr))
    error_message = "primary.vpc_cidr is not an IPv4 block such as 10.10.0.0/16."
  }

  validation {
    condition     = contains([1, 3, 5, 7], var.primary.members)
    error_message = "primary.members is 1, 3, 5 or 7: an even number survives no more losses than one less."
  }

  validation {
    condition     = length(distinct(var.primary.azs)) == 3 && alltrue([for az in var.primary.azs : startswith(az, var.primary.region)])
    error_message = "primary.azs names three different zones of primary.region."
  }
}

variable "dr" {
  description = "The region that follows at first start; as primary, in another region, with a block that does not overlap."
  type = object({
    region   = string
    vpc_cidr = string
    azs      = list(string)
    members  = optional(number, 3)
    ami_id   = optional(string)
  })

  validation {
    condition     = can(cidrnetmask(var.dr.vpc_cidr))
    error_message = "dr.vpc_cidr is not an IPv4 block such as 10.20.0.0/16."
  }

  validation {
    condition     = contains([1, 3, 5, 7], var.dr.members)
    error_message = "dr.members is 1, 3, 5 or 7: an even number survives no more losses than one less."
  }

  validation {
    condition     = length(distinct(var.dr.azs)) == 3 && alltrue([for az in var.dr.azs : startswith(az, var.dr.region)])
    error_message = "dr.azs names three different zones of dr.region."
  }

  validation {
    condition     = var.dr.region != var.primary.region
    error_message = "dr.region is primary.region: the loss of that region would take both."
  }

  # Two blocks overlap when they are equal as far as the shorter prefix reaches.
  validation {
    condition = try(length(distinct([
      for cidr in [var.primary.vpc_cidr, var.dr.vpc_cidr] : cidrsubnet(
        "${split("/", cidr)[0]}/${min([for each in [var.primary.vpc_cidr, var.dr.vpc_cidr] : tonumber(split("/", each)[1])]...)}", 0, 0
      )
    ])) == 2, true)
    error_message = "dr.vpc_cidr overlaps with primary.vpc_cidr: packets between the regions could not be routed."
  }
}

variable "allowed_cidrs" {
  description = "Where clients are: address blocks that may reach the client port in both regions. Never the whole internet."
  type        = list(string)

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr))])
    error_message = "allowed_cidrs is a list of IPv4 blocks such as [\"10.0.0.0/8\"]."
  }
}

variable "operator_cidrs" {
  description = "Control hosts, of both regions: SSH, client and admin port. Empty: Session Manager only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.operator_cidrs : can(cidrnetmask(cidr))])
    error_message = "operator_cidrs is a list of IPv4 blocks such as [\"10.0.9.0/28\"]."
  }
}

variable "instance_type" {
  description = "Type of every member's instance."
  type        = string
  default     = "m6i.large"
}

variable "instance_type_of" {
  description = "Other types for single members, by name: how to change them one at a time while the cluster serves."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([for name in keys(var.instance_type_of) : contains(concat(
      [for i in range(var.primary.members) : "${var.name}-pri-${1 + i}"], [for i in range(var.dr.members) : "${var.name}-dr-${11 + i}"]
    ), name)])
    error_message = "instance_type_of names a member that is not there; members are NAME-pri-1 and up, NAME-dr-11 and up."
  }
}

variable "data_volume_gib" {
  description = "Size of each member's data volume."
  type        = number
  default     = 50
}

variable "wal_volume_gib" {
  description = "Size of each member's volume for the write-ahead log."
  type        = number
  default     = 20
}

variable "nat_per_az" {
  description = "A NAT gateway in each zone; false: one a region, cheaper, and its zone takes the way out with it."
  type        = bool
  default     = true
}

variable "deletion_protection" {
  description = "Members and balancers cannot be destroyed while it is true. Keys are always deleted with 30 days' notice."
  type        = bool
  default     = true
}

variable "witness_region" {
  description = "A third region that hears a heartbeat from both, and rings when one is silent; null: eu-north-1, us-east-2 or ap-southeast-1, the first that is neither."
  type        = string
  default     = null

  validation {
    condition     = var.witness_region == null ? true : !contains([var.primary.region, var.dr.region], var.witness_region)
    error_message = "witness_region is one of the two regions that it watches: it would go dark with it."
  }
}

variable "emails" {
  description = "Addresses that get CloudWatch's alarms of all three regions; each has to confirm once a region."
  type        = list(string)
  default     = []
}

variable "dns" {
  description = "A name that follows the primary role: mode public (zone_id of a zone that exists) or private (private_zone, the name of a zone to make), record_name, ttl. null: no name, clients know both regions' endpoints."
  type = object({
    mode         = string
    record_name  = string
    zone_id      = optional(string)
    private_zone = optional(string)
    ttl          = optional(number, 15)
  })
  default = null
}

variable "backup" {
  description = "Locks and times of backups, as module backup takes them: lock_mode GOVERNANCE or COMPLIANCE, lock_days, keep_days, noncurrent_days."
  type = object({
    lock_mode       = optional(string, "GOVERNANCE")
    lock_days       = optional(number, 7)
    keep_days       = optional(object({ hourly = optional(number, 7), daily = optional(number, 35), weekly = optional(number, 400) }), {})
    noncurrent_days = optional(number, 30)
  })
  default = {}
}
