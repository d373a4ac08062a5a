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

variable "kms_key_arn" {
  description = "Key of this region that encrypts the flow logs."
  type        = string
}

variable "nat_per_az" {
  description = "A NAT gateway in each zone (three times the price); false: one, whose zone takes the way out of all three with it."
  type        = bool
  default     = true
}

variable "session_manager" {
  description = "Endpoints by which Session Manager reaches the hosts without NAT or bastion: the way in when nothing else works."
  type        = bool
  default     = true
}

variable "flow_log_days" {
  description = "How long flow logs are kept. One of the figures that CloudWatch Logs takes."
  type        = number
  default     = 365

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827], var.flow_log_days)
    error_message = "flow_log_days is one of 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827."
  }
}
