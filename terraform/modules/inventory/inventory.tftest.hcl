variables {
  name     = "leeward"
  dns_name = "leeward.example.com"
  primary = {
    region = "east"
    members = {
      leeward-east-1 = { id = 1, zone = "east-a", address = "10.1.0.10", data_volume = "vol-1", wal_volume = "vol-2" }
      leeward-east-2 = { id = 2, zone = "east-b", address = "10.1.0.11" }
      leeward-east-3 = { id = 3, zone = "east-c", address = "10.1.0.12" }
    }
    write_endpoint = "leeward.elb.example:2379"
    monitoring     = { watch-east = { address = "10.1.0.5", zone = "east-a" } }
    vars           = { leeward_backup_bucket = "leeward-east" }
  }
  dr = {
    region  = "west"
    members = { leeward-west-11 = { id = 11, zone = "west-a", address = "10.2.0.10" } }
  }
}

run "each_host_knows_who_and_where_it_is" {
  assert {
    condition     = output.inventory.all.children.leeward.children.primary.hosts.leeward-east-1 == { ansible_host = "10.1.0.10", leeward_id = 1, leeward_zone = "east-a", leeward_data_volume = "vol-1", leeward_wal_volume = "vol-2" }
    error_message = jsonencode(output.inventory.all.children.leeward.children.primary.hosts.leeward-east-1)
  }

  assert {
    condition     = output.inventory.all.children.leeward.children.dr.vars == { leeward_region = "west", leeward_home = "dr" }
    error_message = jsonencode(output.inventory.all.children.leeward.children.dr.vars)
  }

  assert {
    condition     = output.inventory.all.children.monitoring.children.monitoring_primary.hosts.watch-east.leeward_region == "east"
    error_message = jsonencode(output.inventory.all.children.monitoring)
  }
}

run "what_is_unknown_is_left_out" {
  assert {
    condition     = keys(output.inventory.all.children.leeward.children.dr.hosts.leeward-west-11) == ["ansible_host", "leeward_id", "leeward_zone"]
    error_message = jsonencode(output.inventory.all.children.leeward.children.dr.hosts)
  }
}

run "both_lists_of_members_stand_in_every_region" {
  assert {
    condition     = output.inventory.all.vars.leeward_members.primary[*].id == [1, 2, 3] && output.inventory.all.vars.leeward_members.dr[0].peer == "10.2.0.10:2380"
    error_message = jsonencode(output.inventory.all.vars.leeward_members)
  }
}

run "clients_go_to_the_balancer_or_to_the_members" {
  assert {
    condition     = output.endpoints.primary.write == "leeward.elb.example:2379" && output.endpoints.primary.read == "10.1.0.10:2379,10.1.0.11:2379,10.1.0.12:2379"
    error_message = jsonencode(output.endpoints)
  }
}

run "an_even_number_of_members_is_refused" {
  command = plan
  variables {
    dr = { region = "west", members = { a = { id = 11, zone = "a", address = "10.2.0.1" }, b = { id = 12, zone = "b", address = "10.2.0.2" } } }
  }
  expect_failures = [var.dr]
}

run "the_same_region_twice_is_refused" {
  command = plan
  variables {
    dr = { region = "east", members = { a = { id = 11, zone = "a", address = "10.2.0.1" } } }
  }
  expect_failures = [var.dr]
}

run "an_id_in_both_regions_is_refused" {
  command = plan
  variables {
    dr = { region = "west", members = { a = { id = 3, zone = "a", address = "10.2.0.1" } } }
  }
  expect_failures = [var.dr]
}

run "an_address_in_both_regions_is_refused" {
  command = plan
  variables {
    dr = { region = "west", members = { a = { id = 11, zone = "a", address = "10.1.0.5" } } }
  }
  expect_failures = [var.dr]
}
