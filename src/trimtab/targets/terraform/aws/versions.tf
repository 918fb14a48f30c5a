terraform {
  required_version = ">= 1.9.0, < 2.0.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.95"
    }
  }
  # Where the state lies, such as: backend "s3" { ... use_lockfile = true }. Without one it lies in this folder.
  # trimtab: yours backend
  # trimtab: end backend
}

provider "aws" {
  region              = var.region
  allowed_account_ids = var.account_ids
  default_tags {
    tags = local.tags
  }
}
