# The one place that knows the shape of the inventory. Environments differ in where hosts come from, not in what
# Ansible sees.

locals {
  regions = { primary = var.primary, dr = var.dr }

  # The lists that every member's configuration begins with. They stand in all regions alike, so that no play has to
  # ask a host of the other region for them.
  lists = {
    for role, region in local.regions : role => [
      for name, member in region.members : {
        id     = member.id
        name   = name
        peer   = "${member.address}:2380"
        client = "${member.address}:2379"
        region = region.region
        zone   = member.zone
      }
    ]
  }

  # What is not known (a volume of a local host) is left out rather than null: a role asks whether it is defined.
  hosts = {
    for role, region in local.regions : role => {
      for name, member in region.members : name => {
        for key, value in {
          ansible_host        = member.address
          leeward_id          = member.id
          leeward_zone        = member.zone
          leeward_instance    = member.instance_id
          leeward_data_volume = member.data_volume
          leeward_wal_volume  = member.wal_volume
        } : key => value if value != null
      }
    }
  }

  watchers = {
    for role, region in local.regions : role => {
      for name, host in region.monitoring : name => {
        for key, value in {
          ansible_host     = host.address
          leeward_zone     = host.zone
          leeward_region   = region.region
          leeward_instance = host.instance_id
        } : key => value if value != null
      }
    }
  }
}
