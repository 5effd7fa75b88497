output "instance_id" {
  description = "For `aws ssm start-session --target`."
  value       = aws_instance.this.id
}

output "role_arn" {
  description = "Its role, to be made an administrator of the cluster."
  value       = aws_iam_role.this.arn
}

output "security_group_id" {
  description = "Its security group, to be let in to the cluster's API."
  value       = aws_security_group.this.id
}
