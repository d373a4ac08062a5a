variable "name" {
  description = "Name of the deployment whose state this is."
  type        = string
  default     = "leeward"
}

variable "region" {
  description = "Region of the state: the standby region, or a third one."
  type        = string
}

variable "copy_region" {
  description = "Region of the copy."
  type        = string

  validation {
    condition     = var.copy_region != var.region
    error_message = "copy_region is region: the copy would be lost with the state."
  }
}
