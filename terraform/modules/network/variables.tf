variable "name" {
  description = "The beginning of every name."
  type        = string
}

variable "cluster_name" {
  description = "The EKS cluster that will live here: load balancers find their subnets by its tag."
  type        = string
}

variable "cidr" {
  description = "The range of the VPC, from /16 to /20."
  type        = string
}

variable "zones" {
  description = "The availability zones; three for what must survive the loss of one."
  type        = list(string)
}

variable "nat" {
  description = "How private subnets reach the internet: `single` (one NAT gateway, cheap, and lost with its zone), `per_zone` (one in each zone) or `none` (only what has a VPC endpoint)."
  type        = string
  default     = "per_zone"

  validation {
    condition     = contains(["none", "single", "per_zone"], var.nat)
    error_message = "`nat` is none, single or per_zone."
  }
}

variable "interface_endpoints" {
  description = "AWS services that are reached without NAT. Pulling images from ECR needs `ecr.api` and `ecr.dkr`; a session on the bastion needs `ssm`, `ssmmessages` and `ec2messages`."
  type        = set(string)
  default     = ["ecr.api", "ecr.dkr", "sts", "ec2", "logs", "eks", "eks-auth", "ssm", "ssmmessages", "ec2messages"]
}

variable "flow_log_retention_days" {
  description = "How long the network's flow logs are kept."
  type        = number
  default     = 365
}

variable "kms_key_arn" {
  description = "The key that flow logs are encrypted with."
  type        = string
}
