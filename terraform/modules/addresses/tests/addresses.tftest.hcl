run "three_zones_of_a_sixteen" {
  command = plan

  variables {
    cidr  = "10.40.0.0/16"
    zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  }

  assert {
    condition = output.private == {
      "eu-central-1a" = "10.40.32.0/19"
      "eu-central-1b" = "10.40.96.0/19"
      "eu-central-1c" = "10.40.160.0/19"
    }
    error_message = "private subnets are the upper halves of their zones"
  }

  assert {
    condition = output.public == {
      "eu-central-1a" = "10.40.0.0/22"
      "eu-central-1b" = "10.40.64.0/22"
      "eu-central-1c" = "10.40.128.0/22"
    }
    error_message = "public subnets are the beginnings of their zones"
  }
}

run "a_fourth_zone_moves_nothing" {
  command = plan

  variables {
    cidr  = "10.40.0.0/16"
    zones = ["a", "b", "c", "d"]
  }

  assert {
    condition     = output.private["a"] == "10.40.32.0/19" && output.private["d"] == "10.40.224.0/19"
    error_message = "the other zones keep their ranges"
  }
}

run "the_smallest_plan_still_has_room_for_pods" {
  command = plan

  variables {
    cidr  = "192.168.16.0/20"
    zones = ["a", "b"]
  }

  assert {
    condition     = output.private["b"] == "192.168.22.0/23" && output.public["a"] == "192.168.16.0/26"
    error_message = "a /20 gives private /23 and public /26"
  }
}

run "too_small" {
  command = plan

  variables {
    cidr  = "10.0.0.0/24"
    zones = ["a", "b"]
  }

  expect_failures = [var.cidr]
}

run "not_a_network_address" {
  command = plan

  variables {
    cidr  = "10.0.1.0/16"
    zones = ["a", "b"]
  }

  expect_failures = [var.cidr]
}

run "one_zone_is_not_enough_for_eks" {
  command = plan

  variables {
    cidr  = "10.0.0.0/16"
    zones = ["a"]
  }

  expect_failures = [var.zones]
}

run "a_zone_twice" {
  command = plan

  variables {
    cidr  = "10.0.0.0/16"
    zones = ["a", "a"]
  }

  expect_failures = [var.zones]
}
