run "six_hosts_in_two_regions" {
  assert {
    condition     = { for name, host in output.inventory.all.children.leeward.children.primary.hosts : name => host.ansible_host } == { leeward-east-1 = "10.101.0.10", leeward-east-2 = "10.101.0.11", leeward-east-3 = "10.101.0.12" }
    error_message = jsonencode(output.inventory)
  }

  assert {
    condition     = [for host in output.inventory.all.children.leeward.children.dr.hosts : host.leeward_id] == [11, 12, 13]
    error_message = jsonencode(output.inventory.all.children.leeward.children.dr)
  }

  assert {
    condition     = output.endpoints.dr.write == "10.102.0.10:2379,10.102.0.11:2379,10.102.0.12:2379" && output.dns_name == null
    error_message = jsonencode(output.endpoints)
  }
}

run "a_block_that_is_none_is_refused" {
  command = plan
  variables {
    primary = { region = "east", cidr = "10.101.0/24" }
  }
  expect_failures = [var.primary]
}

run "an_even_number_of_members_is_refused" {
  command = plan
  variables {
    primary = { region = "east", cidr = "10.101.0.0/24", members = 2 }
  }
  expect_failures = [var.primary]
}

run "the_same_region_twice_is_refused" {
  command = plan
  variables {
    dr = { region = "east", cidr = "10.102.0.0/24" }
  }
  expect_failures = [var.dr]
}

run "blocks_that_overlap_are_refused" {
  command = plan
  variables {
    dr = { region = "west", cidr = "10.101.0.128/25" }
  }
  expect_failures = [var.dr]
}
