variable "name" {
  description = "Name of the standby region's deployment; begins every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "name is 1 to 24 lower-case letters, digits and hyphens, a letter first: it becomes part of load balancer names, which AWS limits to 32."
  }
}

variable "mode" {
  description = "How Route 53 learns who is primary. \"public\": its checkers ask the standby region over the internet. \"private\": a CloudWatch alarm over the balancer's healthy members, nothing open to the internet, slower."
  type        = string

  validation {
    condition     = contains(["public", "private"], var.mode)
    error_message = "mode is public or private."
  }
}

variable "record_name" {
  description = "The name that clients use, in full, such as leeward.example.com. Not the zone's own name: that cannot be a CNAME."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z][a-z0-9-]*[a-z0-9]$", var.record_name))
    error_message = "record_name is a full name such as leeward.example.com, without a dot at its end."
  }
}

variable "zone_id" {
  description = "Mode public: the hosted zone that exists for the name."
  type        = string
  default     = null

  validation {
    condition     = var.mode != "public" || var.zone_id != null
    error_message = "mode public needs zone_id: the hosted zone of record_name."
  }
}

variable "private_zone" {
  description = "Mode private: name of the zone to make, and the VPCs that see it, with their regions; the standby region's first."
  type = object({
    name = string
    vpcs = list(object({ vpc_id = string, region = string }))
  })
  default = null

  validation {
    condition     = var.mode != "private" || try(length(var.private_zone.vpcs) >= 1, false)
    error_message = "mode private needs private_zone: a name, and the VPCs that see it."
  }

  validation {
    condition     = var.private_zone == null || try(endswith(var.record_name, ".${var.private_zone.name}"), false)
    error_message = "record_name does not lie in private_zone.name."
  }
}

variable "ttl" {
  description = "Seconds for which clients keep an answer: it is added to the time that a failover takes."
  type        = number
  default     = 15

  validation {
    condition     = var.ttl >= 1 && var.ttl <= 30
    error_message = "ttl is 1 to 30 seconds: clients of a lost region stay with it for that long after the promotion."
  }
}

variable "primary_target" {
  description = "Name of the balancer of the region that is primary at first start."
  type        = string
}

variable "dr" {
  description = "The standby region: its balancer's name, the ends of ARNs by which CloudWatch knows balancer and group for writes, its VPC, public subnets, members' instances, and their security group."
  type = object({
    target                   = string
    load_balancer            = string
    write_target_group       = string
    vpc_id                   = string
    public_subnets           = list(string)
    instances                = map(string)
    member_security_group_id = string
  })
}

variable "health_protocol" {
  description = "What the metrics port of members speaks: HTTPS or HTTP."
  type        = string
  default     = "HTTPS"

  validation {
    condition     = contains(["HTTPS", "HTTP"], var.health_protocol)
    error_message = "health_protocol is HTTPS or HTTP."
  }
}

variable "deletion_protection" {
  description = "The balancer of the health checks cannot be destroyed while it is true."
  type        = bool
  default     = true
}
