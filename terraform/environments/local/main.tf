# Two regions of hosts that are there already (containers, virtual machines, racks): nothing is created, nothing asked
# of a cloud. What comes out is what environments/aws-two-region puts out.

locals {
  regions = {
    for role, plan in { primary = merge(var.primary, { first_id = 1 }), dr = merge(var.dr, { first_id = 11 }) } : role => {
      region                    = plan.region
      members = {
        for i in range(plan.members) : "${var.name}-${plan.region}-${plan.first_id + i}" => {
          id      = plan.first_id + i
          zone    = local.zones[role][i % length(local.zones[role])]
          address = cidrhost(plan.cidr, 10 + i)
        }
      }
      monitoring = {
        for name in plan.monitoring ? ["${var.name}-${plan.region}-monitoring"] : [] : name => {
          zone    = local.zones[role][0]
          address = cidrhost(plan.cidr, 5)
        }
      }
    }
  }

  zones = {
    for role, plan in { primary = var.primary, dr = var.dr } : role =>
    coalesce(plan.azs, ["${plan.region}-a", "${plan.region}-b", "${plan.region}-c"])
  }
}

module "inventory" {
  source = "../../modules/inventory"

  name     = var.name
  dns_name = var.dns_name
  primary  = local.regions.primary
  dr       = local.regions.dr
}
