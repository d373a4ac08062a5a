# Two regions and a witness; nothing global is made by a provider of the primary one.

provider "aws" {
  region = var.primary.region

  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias  = "dr"
  region = var.dr.region

  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias  = "witness"
  region = local.witness_region

  default_tags {
    tags = local.tags
  }
}

locals {
  witness_region = coalesce(var.witness_region, [
    for region in ["eu-north-1", "us-east-2", "ap-southeast-1"] : region if !contains([var.primary.region, var.dr.region], region)
  ]...)

  tags = {
    Application = "leeward"
    Deployment  = var.name
  }
}
