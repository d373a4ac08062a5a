variable "name" {
  description = "Name of the deployment in this region; begins every resource's name. Members are NAME-ID."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first: it becomes part of load balancer names, which AWS limits to 32."
  }
}

variable "network" {
  description = "The region's network: what module network puts out."
  type = object({
    vpc_id          = string
    cidr            = string
    azs             = list(string)
    private_subnets = map(object({ id = string, cidr = string }))
  })
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
  description = "Id of the first member; the others follow. Ids of the two regions must differ: 1 and 11 leave room."
  type        = number

  validation {
    condition     = var.first_id >= 1 && var.first_id <= 4294967288 && floor(var.first_id) == var.first_id
    error_message = "first_id is a whole number from 1 to 4294967288: ids go up to 2^32 - 1."
  }
}

variable "instance_type" {
  description = "Type of every member's instance; x86-64, with EBS as NVMe (Nitro)."
  type        = string
  default     = "m6i.large"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type is a name such as m6i.large."
  }
}

variable "instance_type_of" {
  description = "Other types for single members, by name: the way to change them one at a time while the cluster serves."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for name in keys(var.instance_type_of) : contains([for i in range(var.members) : "${var.name}-${var.first_id + i}"], name)
    ])
    error_message = "instance_type_of names a member that is not there; members are NAME-ID, such as leeward-dr-11."
  }
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

  validation {
    condition     = var.data_volume_gib >= 10 && var.data_volume_gib <= 16384
    error_message = "data_volume_gib is 10 to 16384."
  }
}

variable "wal_volume_gib" {
  description = "Size of each member's volume for the write-ahead log: at least twice what dr.retain_log may keep."
  type        = number
  default     = 20

  validation {
    condition     = var.wal_volume_gib >= 10 && var.wal_volume_gib <= 16384
    error_message = "wal_volume_gib is 10 to 16384."
  }
}

variable "wal_volume_iops" {
  description = "Writes a second that the volume of the log takes; 3000 are in the price."
  type        = number
  default     = 3000

  validation {
    condition     = var.wal_volume_iops >= 3000 && var.wal_volume_iops <= 16000
    error_message = "wal_volume_iops is 3000 to 16000: what a gp3 volume offers."
  }
}

variable "kms_key_arn" {
  description = "Key of this region that encrypts all volumes."
  type        = string
}

variable "client_cidrs" {
  description = "Who may reach the client port, at the balancer and at the members. Never the whole internet."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : can(cidrnetmask(cidr))])
    error_message = "client_cidrs holds something that is not an IPv4 block such as 10.0.0.0/8."
  }

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, true)])
    error_message = "client_cidrs opens more than a /8: a store is not reached from the whole internet."
  }
}

variable "operator_cidrs" {
  description = "Hosts from which Ansible and leewardctl come: SSH, client and admin port. Empty: Session Manager only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.operator_cidrs : can(cidrnetmask(cidr))])
    error_message = "operator_cidrs holds something that is not an IPv4 block such as 10.0.9.0/28."
  }

  validation {
    condition     = alltrue([for cidr in var.operator_cidrs : try(tonumber(split("/", cidr)[1]) >= 16, true)])
    error_message = "operator_cidrs opens more than a /16: name the control hosts."
  }
}

variable "peer_cidrs" {
  description = "Private subnets of the other region: its members stream, answer and knock on the peer port."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.peer_cidrs : can(cidrnetmask(cidr))])
    error_message = "peer_cidrs holds something that is not an IPv4 block such as 10.20.0.0/20."
  }
}

variable "scraper_cidrs" {
  description = "Private subnets in which a Prometheus stands, of both regions: metrics port only."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.scraper_cidrs : can(cidrnetmask(cidr))])
    error_message = "scraper_cidrs holds something that is not an IPv4 block such as 10.20.0.0/20."
  }
}

variable "replica_lag" {
  description = "Bound on staleness of the balancer for reads: members beyond it get no new connections."
  type        = string
  default     = "1s"

  validation {
    condition     = can(regex("^[1-9][0-9]*(ms|s)$", var.replica_lag))
    error_message = "replica_lag is a duration such as 500ms or 1s."
  }
}

variable "health_protocol" {
  description = "How the balancer asks: HTTPS when the metrics port has a certificate, as module defaults of the roles give it, else HTTP."
  type        = string
  default     = "HTTPS"

  validation {
    condition     = contains(["HTTPS", "HTTP"], var.health_protocol)
    error_message = "health_protocol is HTTPS or HTTP."
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
