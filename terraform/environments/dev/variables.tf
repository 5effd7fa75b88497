variable "region" {
  description = "The AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "zones" {
  description = "Letters of the availability zones."
  type        = list(string)
  default     = ["a", "b", "c"]
}

variable "project" {
  description = "The beginning of every name."
  type        = string
  default     = "logproc"
}

variable "environment" {
  description = "The name of this environment."
  type        = string
  default     = "dev"
}

variable "tags" {
  description = "Tags of your own for every resource."
  type        = map(string)
  default     = {}
}

variable "cidr" {
  description = "The VPC's range."
  type        = string
  default     = "10.40.0.0/16"
}

variable "nat" {
  description = "none, single or per_zone: for development one NAT gateway is enough."
  type        = string
  default     = "single"
}

variable "kubernetes_version" {
  description = "The cluster's version."
  type        = string
  default     = "1.34"
}

variable "public_access_cidrs" {
  description = "Who may reach the cluster's API from the internet. Nobody by default: the bastion reaches it."
  type        = list(string)
  default     = []
}

variable "admins" {
  description = "ARNs of IAM roles or users that administer the cluster, by any name. Whoever runs Terraform is one already."
  type        = map(string)
  default     = {}
}

variable "node_instance_types" {
  description = "Instances for Kafka, Elasticsearch and everything else."
  type        = list(string)
  default     = ["m7i.large", "m6i.large"]
}

variable "nodes" {
  description = "How many nodes at least, at most, and to begin with."
  type        = object({ min = number, max = number, desired = number })
  default     = { min = 3, max = 6, desired = 3 }
}

variable "owns_repositories" {
  description = "Whether this environment makes the image repositories, which all environments of an account share: true for one of them."
  type        = bool
  default     = true
}

variable "helm_version" {
  description = "The version of Helm on the bastion."
  type        = string
  default     = "v3.19.0"
}

variable "helm_sha256" {
  description = "The checksum of that version's archive for linux-amd64, from https://github.com/helm/helm/releases."
  type        = string
}
