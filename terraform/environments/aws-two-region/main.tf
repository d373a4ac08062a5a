# Two regions, joined. What one module needs of another stands here and nowhere else.

locals {
  # How each region is called in names: NAME-pri-1, NAME-dr-11.
  primary_name = "${var.name}-pri"
  dr_name      = "${var.name}-dr"

  primary_subnets = [for subnet in module.network.private_subnets : subnet.cidr]
  dr_subnets      = [for subnet in module.dr.network.private_subnets : subnet.cidr]
}

module "data_key" {
  source = "../../modules/key"

  providers = {
    aws         = aws
    aws.replica = aws.dr
  }

  name        = "${var.name}/data"
  description = "${var.name}: volumes, logs, secrets"
  services    = ["logs", "cloudwatch"]
}

module "network" {
  source = "../../modules/network"

  name        = local.primary_name
  cidr        = var.primary.vpc_cidr
  azs         = var.primary.azs
  kms_key_arn = module.data_key.arn
  nat_per_az  = var.nat_per_az
}

module "cluster" {
  source = "../../modules/cluster"

  name                = local.primary_name
  network             = module.network
  members             = var.primary.members
  first_id            = 1
  instance_type       = var.instance_type
  instance_type_of    = { for name, type in var.instance_type_of : name => type if startswith(name, "${local.primary_name}-") }
  ami_id              = var.primary.ami_id
  data_volume_gib     = var.data_volume_gib
  wal_volume_gib      = var.wal_volume_gib
  kms_key_arn         = module.data_key.arn
  client_cidrs        = var.allowed_cidrs
  operator_cidrs      = var.operator_cidrs
  peer_cidrs          = local.dr_subnets
  scraper_cidrs       = concat(local.primary_subnets, local.dr_subnets)
  member_policies     = { backup-writer = module.backup.writer_policy, backup-reader = module.backup.reader_policy }
  deletion_protection = var.deletion_protection
}

module "dr" {
  source = "../../modules/standby-region"

  providers = {
    aws = aws.dr
  }

  name                = local.dr_name
  cidr                = var.dr.vpc_cidr
  azs                 = var.dr.azs
  nat_per_az          = var.nat_per_az
  members             = var.dr.members
  first_id            = 11
  instance_type       = var.instance_type
  instance_type_of    = { for name, type in var.instance_type_of : name => type if startswith(name, "${local.dr_name}-") }
  ami_id              = var.dr.ami_id
  data_volume_gib     = var.data_volume_gib
  wal_volume_gib      = var.wal_volume_gib
  kms_key_arn         = module.data_key.replica_arn
  client_cidrs        = var.allowed_cidrs
  operator_cidrs      = var.operator_cidrs
  peer_cidrs          = local.primary_subnets
  scraper_cidrs       = local.primary_subnets
  member_policies     = { backup-writer = module.backup_dr.writer_policy, backup-reader = module.backup_dr.reader_policy }
  deletion_protection = var.deletion_protection
}

module "peering" {
  source = "../../modules/region-peering"

  providers = {
    aws    = aws
    aws.dr = aws.dr
  }

  name    = var.name
  primary = { vpc_id = module.network.vpc_id, cidr = module.network.cidr, route_tables = module.network.private_route_tables }
  dr      = { vpc_id = module.dr.network.vpc_id, cidr = module.dr.network.cidr, route_tables = module.dr.network.private_route_tables }
}

module "backup_key" {
  source = "../../modules/key"

  providers = {
    aws         = aws
    aws.replica = aws.dr
  }

  name        = "${var.name}/backup"
  description = "${var.name}: backups"
}

# Each region puts into its own bucket, which is copied to the other's.
module "backup" {
  source = "../../modules/backup"

  name            = local.primary_name
  kms_key_arn     = module.backup_key.arn
  copy_to         = { bucket_arn = module.backup_dr.bucket_arn, kms_key_arn = module.backup_key.replica_arn }
  lock_mode       = var.backup.lock_mode
  lock_days       = var.backup.lock_days
  keep_days       = var.backup.keep_days
  noncurrent_days = var.backup.noncurrent_days
}

module "backup_dr" {
  source = "../../modules/backup"

  providers = {
    aws = aws.dr
  }

  name            = local.dr_name
  kms_key_arn     = module.backup_key.replica_arn
  copy_to         = { bucket_arn = module.backup.bucket_arn, kms_key_arn = module.backup_key.arn }
  lock_mode       = var.backup.lock_mode
  lock_days       = var.backup.lock_days
  keep_days       = var.backup.keep_days
  noncurrent_days = var.backup.noncurrent_days
}

# At home in the standby region: the copy that is needed in a disaster is the original.
module "secrets" {
  source = "../../modules/secrets"

  providers = {
    aws         = aws.dr
    aws.replica = aws
  }

  name                = var.name
  kms_key_arn         = module.data_key.replica_arn
  replica_kms_key_arn = module.data_key.arn

  secrets = {
    intermediate-primary = "Certificate and key of the CA's intermediate for the primary region"
    intermediate-dr      = "Certificate and key of the CA's intermediate for the standby region"
    alertmanager         = "Keys of those whom Alertmanager tells"
  }
}

module "dead_mans_switch" {
  source = "../../modules/dead-mans-switch"

  providers = {
    aws = aws.witness
  }

  name    = var.name
  watched = [var.primary.region, var.dr.region]
  emails  = var.emails
}

module "monitoring" {
  source = "../../modules/monitoring"

  name                = local.primary_name
  network             = module.network
  other_cidrs         = local.dr_subnets
  operator_cidrs      = var.operator_cidrs
  balancer            = { load_balancer = module.cluster.balancer.arn_suffix, read_target_group = module.cluster.balancer.target_group["read"] }
  members             = { for name, member in module.cluster.members : name => member.instance_id }
  ami_id              = var.primary.ami_id
  kms_key_arn         = module.data_key.arn
  emails              = var.emails
  heartbeat           = module.dead_mans_switch.heartbeat
  host_policies       = { secrets = module.secrets.reader_policies["alertmanager/replica"] }
  deletion_protection = var.deletion_protection
}

module "monitoring_dr" {
  source = "../../modules/monitoring"

  providers = {
    aws = aws.dr
  }

  name                = local.dr_name
  network             = module.dr.network
  other_cidrs         = local.primary_subnets
  operator_cidrs      = var.operator_cidrs
  balancer            = { load_balancer = module.dr.cluster.balancer.arn_suffix, read_target_group = module.dr.cluster.balancer.target_group["read"] }
  members             = { for name, member in module.dr.cluster.members : name => member.instance_id }
  ami_id              = var.dr.ami_id
  kms_key_arn         = module.data_key.replica_arn
  emails              = var.emails
  heartbeat           = module.dead_mans_switch.heartbeat
  host_policies       = { secrets = module.secrets.reader_policies["alertmanager/home"] }
  deletion_protection = var.deletion_protection
}

module "dns" {
  source = "../../modules/dns-failover"
  count  = var.dns == null ? 0 : 1

  providers = {
    aws = aws.dr
  }

  name           = local.dr_name
  mode           = var.dns.mode
  record_name    = var.dns.record_name
  zone_id        = var.dns.zone_id
  ttl            = var.dns.ttl
  primary_target = module.cluster.balancer.dns_name

  private_zone = var.dns.private_zone == null ? null : {
    name = var.dns.private_zone
    vpcs = [
      { vpc_id = module.dr.network.vpc_id, region = var.dr.region },
      { vpc_id = module.network.vpc_id, region = var.primary.region },
    ]
  }

  dr = {
    target                   = module.dr.cluster.balancer.dns_name
    load_balancer            = module.dr.cluster.balancer.arn_suffix
    write_target_group       = module.dr.cluster.balancer.target_group["write"]
    vpc_id                   = module.dr.network.vpc_id
    public_subnets           = [for subnet in module.dr.network.public_subnets : subnet.id]
    instances                = { for name, member in module.dr.cluster.members : name => member.instance_id }
    member_security_group_id = module.dr.cluster.member_security_group_id
  }

  deletion_protection = var.deletion_protection
}

module "inventory" {
  source = "../../modules/inventory"

  name     = var.name
  dns_name = var.dns == null ? null : var.dns.record_name

  primary = {
    region         = var.primary.region
    members        = module.cluster.members
    write_endpoint = module.cluster.write_endpoint
    read_endpoint  = module.cluster.read_endpoint
    monitoring     = module.monitoring.host
    vars           = { leeward_backup_bucket = module.backup.bucket }
  }

  dr = {
    region         = var.dr.region
    members        = module.dr.cluster.members
    write_endpoint = module.dr.cluster.write_endpoint
    read_endpoint  = module.dr.cluster.read_endpoint
    monitoring     = module.monitoring_dr.host
    vars           = { leeward_backup_bucket = module.backup_dr.bucket }
  }
}

# Goes before all else when a member, or everything, is destroyed, and refuses while the protection is on: nothing was
# touched then. AWS's own protection of an instance does not hold here: the provider takes it off by itself.
resource "terraform_data" "protection" {
  for_each = toset(concat(keys(module.cluster.members), keys(module.dr.cluster.members)))

  input = var.deletion_protection

  provisioner "local-exec" {
    when    = destroy
    command = self.input ? "echo '${each.key} is protected: deletion_protection = false, apply, and again' >&2; exit 1" : "true"
  }

  depends_on = [
    module.network, module.cluster, module.dr, module.peering, module.data_key, module.backup_key, module.backup, module.backup_dr,
    module.secrets, module.dead_mans_switch, module.monitoring, module.monitoring_dr, module.dns,
  ]
}
