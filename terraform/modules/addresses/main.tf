# The plan of addresses of a VPC: which range each subnet of each zone has. Without a provider, so that it can be tested
# anywhere.
#
# Private subnets hold nodes and pods (every pod takes an address of its own from them), so each gets half of its zone's
# range; public subnets hold load balancers and NAT gateways, which need few. What lies between is free for
# what comes later.

variable "cidr" {
  description = "The range of the VPC, for example 10.40.0.0/16."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.cidr))
    error_message = "The range must be an IPv4 CIDR."
  }

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.cidr)[1]), 99) <= 20
    error_message = "A VPC has /16 at most, and less than /20 leaves too few addresses for pods."
  }

  validation {
    condition     = try(cidrhost(var.cidr, 0) == split("/", var.cidr)[0], false)
    error_message = "The range must begin at its network address."
  }
}

variable "zones" {
  description = "The availability zones, two to four."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 4
    error_message = "Two to four zones are needed: EKS asks for two, and the plan has room for four."
  }

  validation {
    condition     = length(distinct(var.zones)) == length(var.zones)
    error_message = "A zone is named twice."
  }
}

locals {
  # Four equal ranges, one for each zone: a fourth zone can be added later without moving the others.
  by_zone = { for index, zone in var.zones : zone => cidrsubnet(var.cidr, 2, index) }
}

output "private" {
  description = "The private subnet's range of each zone: the upper half of the zone's range."
  value       = { for zone, range in local.by_zone : zone => cidrsubnet(range, 1, 1) }
}

output "public" {
  description = "The public subnet's range of each zone: the first sixteenth of the zone's range."
  value       = { for zone, range in local.by_zone : zone => cidrsubnet(range, 4, 0) }
}
