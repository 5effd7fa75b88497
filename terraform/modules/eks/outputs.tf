output "name" {
  description = "The cluster's name."
  value       = aws_eks_cluster.this.name
}

output "arn" {
  description = "Its ARN."
  value       = aws_eks_cluster.this.arn
}

output "endpoint" {
  description = "Where its API answers."
  value       = aws_eks_cluster.this.endpoint
}

output "certificate_authority" {
  description = "The certificate of its API, in base64."
  value       = aws_eks_cluster.this.certificate_authority[0].data
}

output "oidc_provider_arn" {
  description = "For roles of service accounts."
  value       = aws_iam_openid_connect_provider.this.arn
}

output "node_role_arn" {
  description = "The nodes' role."
  value       = aws_iam_role.node.arn
}
