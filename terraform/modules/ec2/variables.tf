variable "name" {
  description = "The instance's name."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_id" {
  description = "A private subnet."
  type        = string
}

variable "architecture" {
  description = "x86_64 or arm64: images are built for it."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "`architecture` is x86_64 or arm64."
  }
}

variable "instance_type" {
  description = "The kind of instance; building the image takes two cores and 4 GiB a few minutes. It must fit the architecture."
  type        = string
  default     = "c7i.large"
}

variable "disk_gib" {
  description = "Size of its disk."
  type        = number
  default     = 40
}

variable "kms_key_arn" {
  description = "The key for its disk."
  type        = string
}

variable "cluster_name" {
  description = "The cluster it reaches."
  type        = string
}

variable "cluster_arn" {
  description = "The cluster's ARN."
  type        = string
}

variable "kubernetes_version" {
  description = "The cluster's version: `kubectl` of the same is installed."
  type        = string
}

variable "helm_version" {
  description = "The version of Helm to install, with its v."
  type        = string
}

variable "helm_sha256" {
  description = "The checksum of Helm's archive for Linux and this architecture, from its release page."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.helm_sha256))
    error_message = "A SHA-256 checksum has 64 hexadecimal digits."
  }
}

variable "repository_arns" {
  description = "ECR repositories that it may push to."
  type        = list(string)
}
