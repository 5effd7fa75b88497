# Add-ons: what nodes need to be ready first, then what needs nodes. Their AWS permissions come from pod identities.

data "aws_iam_policy_document" "pod_trust" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
  }
}

locals {
  pod_roles = {
    cni = { policy = "AmazonEKS_CNI_Policy" }
    ebs = { policy = "service-role/AmazonEBSCSIDriverPolicy" }
  }
}

resource "aws_iam_role" "pod" {
  for_each = local.pod_roles

  name_prefix        = "${var.name}-${each.key}-"
  assume_role_policy = data.aws_iam_policy_document.pod_trust.json
}

resource "aws_iam_role_policy_attachment" "pod" {
  for_each = local.pod_roles

  role       = aws_iam_role.pod[each.key].name
  policy_arn = "${local.policies}/${each.value.policy}"
}

# Encrypted volumes need the key.
data "aws_iam_policy_document" "ebs_key" {
  statement {
    actions   = ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"]
    resources = [var.kms_key_arn]

    condition {
      test     = "Bool"
      variable = "kms:GrantIsForAWSResource"
      values   = ["true"]
    }
  }

  statement {
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"]
    resources = [var.kms_key_arn]
  }
}

resource "aws_iam_role_policy" "ebs_key" {
  name_prefix = "key-"
  role        = aws_iam_role.pod["ebs"].id
  policy      = data.aws_iam_policy_document.ebs_key.json
}

resource "aws_eks_addon" "before_nodes" {
  for_each = toset(["vpc-cni", "kube-proxy", "eks-pod-identity-agent"])

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  # NetworkPolicy objects are enforced only where the network plugin is told to.
  configuration_values = each.key == "vpc-cni" ? jsonencode({ enableNetworkPolicy = "true" }) : null

  dynamic "pod_identity_association" {
    for_each = each.key == "vpc-cni" ? [aws_iam_role.pod["cni"].arn] : []

    content {
      role_arn        = pod_identity_association.value
      service_account = "aws-node"
    }
  }

  depends_on = [aws_iam_role_policy_attachment.pod]
}

resource "aws_eks_addon" "after_nodes" {
  for_each = toset(["coredns", "metrics-server", "aws-ebs-csi-driver"])

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  dynamic "pod_identity_association" {
    for_each = each.key == "aws-ebs-csi-driver" ? [aws_iam_role.pod["ebs"].arn] : []

    content {
      role_arn        = pod_identity_association.value
      service_account = "ebs-csi-controller-sa"
    }
  }

  depends_on = [aws_eks_node_group.this, aws_iam_role_policy_attachment.pod]
}
