variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "primary" {
  description = "The network of the primary region: its VPC, address block, and route tables by zone."
  type = object({
    vpc_id       = string
    cidr         = string
    route_tables = map(string)
  })

  validation {
    condition     = can(cidrnetmask(var.primary.cidr))
    error_message = "primary.cidr is not an IPv4 block such as 10.10.0.0/16."
  }
}

variable "dr" {
  description = "The same of the standby region. Address blocks must not overlap: packets could not be routed."
  type = object({
    vpc_id       = string
    cidr         = string
    route_tables = map(string)
  })

  validation {
    condition     = can(cidrnetmask(var.dr.cidr))
    error_message = "dr.cidr is not an IPv4 block such as 10.20.0.0/16."
  }

  # Two blocks overlap when they are equal as far as the shorter prefix reaches.
  validation {
    condition = try(length(distinct([
      for cidr in [var.primary.cidr, var.dr.cidr] : cidrsubnet(
        "${split("/", cidr)[0]}/${min([for each in [var.primary.cidr, var.dr.cidr] : tonumber(split("/", each)[1])]...)}", 0, 0
      )
    ])) == 2, true)
    error_message = "dr.cidr overlaps with primary.cidr: packets between the regions could not be routed. Choose another block for one of them."
  }
}
