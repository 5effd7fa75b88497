# Repositories for images: scanned when pushed, tags that can't be moved, and old images thrown away.

variable "repositories" {
  description = "Repository names by what they hold."
  type        = map(string)
}

variable "create" {
  description = "Whether the repositories are made; otherwise they are another environment's and are only looked up."
  type        = bool
  default     = true
}

variable "kms_key_arn" {
  description = "The key that images are encrypted with."
  type        = string
}

variable "keep_images" {
  description = "Tagged images that are kept in each repository."
  type        = number
  default     = 50

  validation {
    condition     = var.keep_images >= 2
    error_message = "At least two images are kept, so that the one before can be gone back to."
  }
}

variable "untagged_days" {
  description = "Days after which an image that lost its tag is thrown away."
  type        = number
  default     = 7
}

resource "aws_ecr_repository" "this" {
  for_each = var.create ? var.repositories : {}

  name                 = each.value
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.kms_key_arn
  }
}

data "aws_ecr_repository" "this" {
  for_each = var.create ? {} : var.repositories

  name = each.value
}

locals {
  found = merge(aws_ecr_repository.this, data.aws_ecr_repository.this)
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each = aws_ecr_repository.this

  repository = each.value.name
  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "images without a tag"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = var.untagged_days
        }
        action = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "the newest images stay"
        selection = {
          tagStatus   = "any"
          countType   = "imageCountMoreThan"
          countNumber = var.keep_images
        }
        action = { type = "expire" }
      },
    ]
  })
}

output "urls" {
  description = "Where to push to and pull from, by what the repository holds."
  value       = { for key, repository in local.found : key => repository.repository_url }
}

output "arns" {
  description = "For policies."
  value       = { for key, repository in local.found : key => repository.arn }
}
