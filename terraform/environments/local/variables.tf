variable "name" {
  description = "Name of the deployment."
  type        = string
  default     = "leeward"
}

variable "primary" {
  description = "The region that is primary at first start: its name, the block its hosts stand in, its zones, how many members. Members take the tenth address and up, the monitoring the fifth."
  type = object({
    region     = string
    cidr       = string
    azs        = optional(list(string))
    members    = optional(number, 3)
    monitoring = optional(bool, true)
  })
  default = { region = "east", cidr = "10.101.0.0/24" }

  validation {
    condition     = can(cidrnetmask(var.primary.cidr)) && try(tonumber(split("/", var.primary.cidr)[1]) <= 27, false)
    error_message = "primary.cidr is not an IPv4 block of at least a /27, such as 10.101.0.0/24."
  }

  validation {
    condition     = contains([1, 3, 5, 7], var.primary.members)
    error_message = "primary.members is 1, 3, 5 or 7: an even number survives no more losses than one less."
  }
}

variable "dr" {
  description = "The region that follows at first start; as primary."
  type = object({
    region     = string
    cidr       = string
    azs        = optional(list(string))
    members    = optional(number, 3)
    monitoring = optional(bool, true)
  })
  default = { region = "west", cidr = "10.102.0.0/24" }

  validation {
    condition     = can(cidrnetmask(var.dr.cidr)) && try(tonumber(split("/", var.dr.cidr)[1]) <= 27, false)
    error_message = "dr.cidr is not an IPv4 block of at least a /27, such as 10.102.0.0/24."
  }

  validation {
    condition     = contains([1, 3, 5, 7], var.dr.members)
    error_message = "dr.members is 1, 3, 5 or 7: an even number survives no more losses than one less."
  }

  validation {
    condition     = var.dr.region != var.primary.region
    error_message = "dr.region is primary.region: the loss of that region would take both."
  }

  # Two blocks overlap when they are equal as far as the shorter prefix reaches.
  validation {
    condition = try(length(distinct([
      for cidr in [var.primary.cidr, var.dr.cidr] : cidrsubnet(
        "${split("/", cidr)[0]}/${min([for each in [var.primary.cidr, var.dr.cidr] : tonumber(split("/", each)[1])]...)}", 0, 0
      )
    ])) == 2, true)
    error_message = "dr.cidr overlaps with primary.cidr: give each region a block of its own."
  }
}

variable "dns_name" {
  description = "A name that you lead to whichever region is primary; null: clients name the members of both."
  type        = string
  default     = null
}
