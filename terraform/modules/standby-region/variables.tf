variable "name" {
  description = "Name of the deployment in this region; begins every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first: it becomes part of load balancer names, which AWS limits to 32."
  }
}

variable "cidr" {
  description = "Address block of the region, /16 to /20, in a private range. The other region's must not overlap with it."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(cidrsubnet(var.cidr, 0, 0) == var.cidr, false)
    error_message = "cidr is not an IPv4 block: write the network's own address and a length, such as 10.10.0.0/16."
  }

  validation {
    condition     = try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, true)
    error_message = "cidr is a /16 to a /20: six subnets of it must have room for members and load balancers."
  }
}

variable "azs" {
  description = "The three availability zones, such as [\"eu-central-1a\", \"eu-central-1b\", \"eu-central-1c\"]."
  type        = list(string)

  validation {
    condition     = length(var.azs) == 3 && length(distinct(var.azs)) == 3
    error_message = "azs names three different availability zones: with fewer the loss of one takes the quorum."
  }
}

variable "members" {
  description = "How many members: 1, 3, 5 or 7, spread over the zones in order."
  type        = number
  default     = 3

  validation {
    condition     = contains([1, 3, 5, 7], var.members)
    error_message = "members is 1, 3, 5 or 7: an even number has the cost of one more and survives no more losses than one less."
  }
}

variable "first_id" {
  description = "Id of the first member; the others follow. Ids of the two regions must differ."
  type        = number
  default     = 11

  validation {
    condition     = var.first_id >= 1 && var.first_id <= 4294967288 && floor(var.first_id) == var.first_id
    error_message = "first_id is a whole number from 1 to 4294967288: ids go up to 2^32 - 1."
  }
}

variable "instance_type" {
  description = "Type of every member's instance; x86-64, with EBS as NVMe (Nitro)."
  type        = string
  default     = "m6i.large"
}

variable "instance_type_of" {
  description = "Other types for single members, by name: the way to change them one at a time while the cluster serves."
  type        = map(string)
  default     = {}
}

variable "ami_id" {
  description = "Image of new members, Debian 12 for x86-64; null: the newest of Debian's own. Members that exist keep theirs."
  type        = string
  default     = null
}

variable "data_volume_gib" {
  description = "Size of each member's data volume: state, checkpoints, ledgers. It can grow later, never shrink."
  type        = number
  default     = 50
}

variable "wal_volume_gib" {
  description = "Size of each member's volume for the write-ahead log: at least twice what dr.retain_log may keep."
  type        = number
  default     = 20
}

variable "kms_key_arn" {
  description = "Key of this region that encrypts all volumes."
  type        = string
}

variable "client_cidrs" {
  description = "Who may reach the client port, at the balancer and at the members. Never the whole internet."
  type        = list(string)
}

variable "operator_cidrs" {
  description = "Hosts from which Ansible and leewardctl come: SSH, client and admin port. Empty: Session Manager only."
  type        = list(string)
  default     = []
}

variable "peer_cidrs" {
  description = "Private subnets of the primary region: its members stream, answer and knock on the peer port."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.peer_cidrs : can(cidrnetmask(cidr))])
    error_message = "peer_cidrs holds something that is not an IPv4 block such as 10.20.0.0/20."
  }
}

variable "scraper_cidrs" {
  description = "Private subnets of the primary region in which a Prometheus stands: metrics port only. Those of this region are added."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.scraper_cidrs : can(cidrnetmask(cidr))])
    error_message = "scraper_cidrs holds something that is not an IPv4 block such as 10.20.0.0/20."
  }
}

variable "member_policies" {
  description = "Further rights of members, by name: IAM policy documents, such as the backup module's writer policy."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Members and balancer cannot be destroyed while it is true."
  type        = bool
  default     = true
}

variable "nat_per_az" {
  description = "A NAT gateway in each zone (three times the price); false: one, whose zone takes the way out of all three with it."
  type        = bool
  default     = true
}
