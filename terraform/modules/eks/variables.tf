variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "kubernetes_version" {
  description = "The cluster's version of Kubernetes, such as 1.34."
  type        = string

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "A version has a major and a minor number, such as 1.34."
  }
}


variable "subnet_ids" {
  description = "Private subnets for the control plane's interfaces and the nodes."
  type        = list(string)
}

variable "public_access_cidrs" {
  description = "Who may reach the API server from the internet; an empty list turns public access off."
  type        = list(string)
  default     = []

  validation {
    condition     = !contains(var.public_access_cidrs, "0.0.0.0/0")
    error_message = "The API server is not opened to the whole internet: name the ranges that may reach it."
  }
}

variable "private_access_security_group_ids" {
  description = "Security groups from which the API server is reached inside the VPC, such as the bastion's, by any name."
  type        = map(string)
  default     = {}
}

variable "kms_key_arn" {
  description = "The key for Kubernetes secrets, nodes' disks and logs."
  type        = string
}

variable "admins" {
  description = "ARNs of IAM roles or users that administer the cluster, by any name."
  type        = map(string)
  default     = {}
}

variable "log_retention_days" {
  description = "How long the control plane's logs are kept."
  type        = number
  default     = 365
}

variable "node_groups" {
  description = "Managed node groups by name. `taints` keep other pods away; Elasticsearch's nodes are an example."
  type = map(object({
    instance_types = list(string)
    capacity_type  = optional(string, "ON_DEMAND")
    architecture   = optional(string, "x86_64")
    min_size       = number
    max_size       = number
    desired_size   = number
    disk_gib       = optional(number, 50)
    labels         = optional(map(string), {})
    taints         = optional(map(object({ value = string, effect = string })), {})
  }))

  validation {
    condition     = length(var.node_groups) > 0
    error_message = "A cluster without nodes runs nothing."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : group.min_size <= group.desired_size && group.desired_size <= group.max_size])
    error_message = "In each group min_size <= desired_size <= max_size."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : contains(["ON_DEMAND", "SPOT"], group.capacity_type)])
    error_message = "`capacity_type` is ON_DEMAND or SPOT."
  }

  validation {
    condition     = alltrue([for group in var.node_groups : contains(["x86_64", "arm64"], group.architecture)])
    error_message = "`architecture` is x86_64 or arm64."
  }

  validation {
    condition = alltrue(flatten([
      for group in var.node_groups : [
        for taint in group.taints : contains(["NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE"], taint.effect)
      ]
    ]))
    error_message = "A taint's effect is NO_SCHEDULE, NO_EXECUTE or PREFER_NO_SCHEDULE."
  }
}
