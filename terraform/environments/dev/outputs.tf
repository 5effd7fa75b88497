output "region" {
  description = "The region."
  value       = var.region
}

output "cluster_name" {
  description = "For `aws eks update-kubeconfig`."
  value       = module.eks.name
}

output "cluster_endpoint" {
  description = "The cluster's API."
  value       = module.eks.endpoint
}

output "image_repository" {
  description = "Where logproc's image is pushed to and pulled from."
  value       = module.ecr.urls["logproc"]
}

output "bastion_instance_id" {
  description = "For `aws ssm start-session --target`."
  value       = module.bastion.instance_id
}

output "nat_addresses" {
  description = "Addresses that requests of the cluster come from."
  value       = module.network.nat_addresses
}
