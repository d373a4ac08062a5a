# Made once, before the deployment, with a state of its own on the control host: a handful of resources that can be
# imported again.

provider "aws" {
  region = var.region
}

provider "aws" {
  alias  = "copy"
  region = var.copy_region
}

module "key" {
  source = "../../modules/key"

  providers = {
    aws         = aws
    aws.replica = aws.copy
  }

  name        = "${var.name}/state"
  description = "${var.name}: state of Terraform"
}

module "state" {
  source = "../../modules/state-backend"

  providers = {
    aws      = aws
    aws.copy = aws.copy
  }

  name             = var.name
  kms_key_arn      = module.key.arn
  copy_kms_key_arn = module.key.replica_arn
}
