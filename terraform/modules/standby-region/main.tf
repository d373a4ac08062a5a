# The second region: all that it needs to follow, to be promoted and to serve stands in it. Of the primary region it
# knows address blocks, which firewalls need, and nothing else: no id, ARN or name.

module "network" {
  source = "../network"

  name        = var.name
  cidr        = var.cidr
  azs         = var.azs
  kms_key_arn = var.kms_key_arn
  nat_per_az  = var.nat_per_az
}

module "cluster" {
  source = "../cluster"

  name                = var.name
  network             = module.network
  members             = var.members
  first_id            = var.first_id
  instance_type       = var.instance_type
  instance_type_of    = var.instance_type_of
  ami_id              = var.ami_id
  data_volume_gib     = var.data_volume_gib
  wal_volume_gib      = var.wal_volume_gib
  kms_key_arn         = var.kms_key_arn
  client_cidrs        = var.client_cidrs
  operator_cidrs      = var.operator_cidrs
  peer_cidrs          = var.peer_cidrs
  scraper_cidrs       = concat(var.scraper_cidrs, [for subnet in module.network.private_subnets : subnet.cidr])
  member_policies     = var.member_policies
  deletion_protection = var.deletion_protection
}
