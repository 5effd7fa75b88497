# Names and tags, in one place and without a provider, so that they can be tested anywhere.

variable "project" {
  description = "What the resources belong to; the beginning of every name."
  type        = string
  default     = "logproc"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.project))
    error_message = "A project's name has 2 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "environment" {
  description = "Which of several copies this is: dev, staging, prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.environment))
    error_message = "An environment's name has 2 to 10 lower-case letters and digits, and begins with a letter."
  }
}

variable "tags" {
  description = "Tags of your own for every resource. They can't replace the ones that are set here."
  type        = map(string)
  default     = {}
}

locals {
  prefix = "${var.project}-${var.environment}"
}

output "prefix" {
  description = "The beginning of every name."
  value       = local.prefix
}

output "cluster" {
  description = "The name of the EKS cluster."
  value       = local.prefix
}

output "repositories" {
  description = "ECR repositories by what they hold. They are shared by all environments, so that an image is promoted rather than built again."
  value = {
    logproc = "${var.project}/logproc"
  }
}

output "tags" {
  description = "The tags of every resource."
  value = merge(var.tags, {
    Project     = var.project
    Environment = var.environment
    ManagedBy   = "terraform"
  })
}
