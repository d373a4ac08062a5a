variable "name" {
  description = "Name of the deployment: what the daemon knows as cluster.name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "dns_name" {
  description = "The name that leads to whichever region is primary; null without one."
  type        = string
  default     = null
}

variable "primary" {
  description = "The region that is primary at first start: its name, its members by name, where clients go, its hosts of the monitoring by name."
  type = object({
    region = string
    members = map(object({
      id          = number
      zone        = string
      address     = string
      instance_id = optional(string)
      data_volume = optional(string)
      wal_volume  = optional(string)
    }))
    write_endpoint = optional(string)
    read_endpoint  = optional(string)
    monitoring     = optional(map(object({ address = string, zone = string, instance_id = optional(string) })), {})
    vars           = optional(map(string), {})
  })

  validation {
    condition     = contains([1, 3, 5, 7], length(var.primary.members))
    error_message = "primary has an even number of members, or more than 7: 1, 3, 5 or 7 make a quorum."
  }
}

variable "dr" {
  description = "The region that follows at first start; as primary."
  type = object({
    region = string
    members = map(object({
      id          = number
      zone        = string
      address     = string
      instance_id = optional(string)
      data_volume = optional(string)
      wal_volume  = optional(string)
    }))
    write_endpoint = optional(string)
    read_endpoint  = optional(string)
    monitoring     = optional(map(object({ address = string, zone = string, instance_id = optional(string) })), {})
    vars           = optional(map(string), {})
  })

  validation {
    condition     = contains([1, 3, 5, 7], length(var.dr.members))
    error_message = "dr has an even number of members, or more than 7: 1, 3, 5 or 7 make a quorum."
  }

  validation {
    condition     = var.dr.region != var.primary.region
    error_message = "dr.region is primary.region: the loss of that region would take both."
  }

  validation {
    condition = length(setintersection(
      [for member in var.primary.members : member.id], [for member in var.dr.members : member.id]
    )) == 0
    error_message = "a member's id stands in both regions: ids are unique over the deployment."
  }

  validation {
    condition = length(setintersection(
      concat([for member in var.primary.members : member.address], [for host in var.primary.monitoring : host.address]),
      concat([for member in var.dr.members : member.address], [for host in var.dr.monitoring : host.address]),
    )) == 0
    error_message = "an address stands in both regions: no host could tell which one is meant."
  }
}
