output "inventory" {
  description = "Ansible's inventory; `terraform output -json inventory` writes a file that Ansible reads."
  value = {
    all = {
      vars = {
        leeward_cluster_name = var.name
        leeward_dns_name     = var.dns_name
        leeward_members      = local.lists
      }
      children = {
        leeward = {
          children = {
            for role, region in local.regions : role => {
              hosts = local.hosts[role]
              vars = merge(region.vars, {
                leeward_region = region.region
                leeward_home   = role
              })
            }
          }
        }
        monitoring = {
          children = { for role, hosts in local.watchers : "monitoring_${role}" => { hosts = hosts } }
        }
      }
    }
  }
}

output "endpoints" {
  description = "Where clients go, by region: the balancer's ports for writes and reads, and the members themselves."
  value = {
    for role, region in local.regions : role => {
      write   = region.write_endpoint != null ? region.write_endpoint : join(",", local.lists[role][*].client)
      read    = region.read_endpoint != null ? region.read_endpoint : join(",", local.lists[role][*].client)
      members = local.lists[role][*].client
    }
  }
}
