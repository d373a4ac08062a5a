output "inventory" {
  description = "Ansible's inventory: terraform output -json inventory > inventory.json"
  value       = module.inventory.inventory
}

output "endpoints" {
  description = "Where clients go, by region: the balancers' ports for writes and reads, and the members themselves."
  value       = module.inventory.endpoints
}

output "dns_name" {
  description = "The name that leads to whichever region is primary; null without one."
  value       = var.dns == null ? null : module.dns[0].dns_name
}

output "promotion_needs" {
  description = "All that installing, promoting and restoring in the standby region touch: none of it stands in the primary region, and a test holds it to that."
  value = {
    members       = module.dr.cluster.members
    endpoints     = module.inventory.endpoints.dr
    way_in        = module.dr.network.service_endpoints
    key           = module.data_key.replica_arn
    backup_key    = module.backup_key.replica_arn
    backup_bucket = module.backup_dr.bucket_arn
    secrets       = { for name, arns in module.secrets.arns : name => arns.home }
    monitoring    = module.monitoring_dr.host
    alarms        = module.monitoring_dr.topic_arn
  }
}
