# One environment: the network, the cluster, the image repositories and the bastion.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  zones = [for letter in var.zones : "${var.region}${letter}"]
}

module "naming" {
  source      = "../../modules/naming"
  project     = var.project
  environment = var.environment
  tags        = var.tags
}

# One key for this environment: Kubernetes secrets, disks, images and logs.
data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:the account administers its key, or nobody could
  #checkov:skip=CKV_AWS_111:the account administers its key, or nobody could
  #checkov:skip=CKV_AWS_356:the only resource that a key's policy knows is the key
  #checkov:skip=CKV_AWS_283:the conditions hold it to this account and to EC2
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:${data.aws_partition.current.partition}:logs:${var.region}:${data.aws_caller_identity.current.account_id}:log-group:*"]
    }
  }

  # Disks: whoever in this account may use EC2 may use the key through it, as with AWS's own key for disks. That is how the
  # service-linked role of Auto Scaling makes nodes' disks, without being named: in a new account it is not there yet.
  dynamic "statement" {
    for_each = {
      Disks       = { actions = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"], grants = false }
      DisksGrants = { actions = ["kms:CreateGrant"], grants = true }
    }

    content {
      sid       = statement.key
      actions   = statement.value.actions
      resources = ["*"]

      principals {
        type        = "AWS"
        identifiers = ["*"]
      }

      condition {
        test     = "StringEquals"
        variable = "kms:CallerAccount"
        values   = [data.aws_caller_identity.current.account_id]
      }

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["ec2.${var.region}.amazonaws.com"]
      }

      dynamic "condition" {
        for_each = statement.value.grants ? ["true"] : []

        content {
          test     = "Bool"
          variable = "kms:GrantIsForAWSResource"
          values   = [condition.value]
        }
      }
    }
  }
}

resource "aws_kms_key" "this" {
  description             = "${module.naming.prefix}: secrets, disks, images, logs"
  enable_key_rotation     = true
  deletion_window_in_days = 14
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "this" {
  name          = "alias/${module.naming.prefix}"
  target_key_id = aws_kms_key.this.key_id
}

module "network" {
  source       = "../../modules/network"
  name         = module.naming.prefix
  cluster_name = module.naming.cluster
  cidr         = var.cidr
  zones        = local.zones
  nat          = var.nat
  kms_key_arn  = aws_kms_key.this.arn
}

module "ecr" {
  source       = "../../modules/ecr"
  create       = var.owns_repositories
  repositories = module.naming.repositories
  kms_key_arn  = aws_kms_key.this.arn
}

module "eks" {
  source              = "../../modules/eks"
  name                = module.naming.cluster
  kubernetes_version  = var.kubernetes_version
  subnet_ids          = module.network.private_subnet_ids
  public_access_cidrs = var.public_access_cidrs
  kms_key_arn         = aws_kms_key.this.arn
  admins              = merge(var.admins, { bastion = module.bastion.role_arn })

  private_access_security_group_ids = { bastion = module.bastion.security_group_id }

  node_groups = {
    general = {
      instance_types = var.node_instance_types
      min_size       = var.nodes.min
      max_size       = var.nodes.max
      desired_size   = var.nodes.desired
    }
  }
}

module "bastion" {
  source             = "../../modules/ec2"
  name               = "${module.naming.prefix}-bastion"
  vpc_id             = module.network.vpc_id
  subnet_id          = module.network.private_subnet_ids[0]
  kms_key_arn        = aws_kms_key.this.arn
  cluster_name       = module.naming.cluster
  cluster_arn        = "arn:${data.aws_partition.current.partition}:eks:${var.region}:${data.aws_caller_identity.current.account_id}:cluster/${module.naming.cluster}"
  kubernetes_version = var.kubernetes_version
  helm_version       = var.helm_version
  helm_sha256        = var.helm_sha256
  repository_arns    = values(module.ecr.arns)
}
