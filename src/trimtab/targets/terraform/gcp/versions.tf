terraform {
  required_version = ">= 1.9.0, < 2.0.0"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
  # Where the state lies, such as: backend "gcs" { ... }. Without one it lies in this folder.
  # trimtab: yours backend
  # trimtab: end backend
}

provider "google" {
  project        = var.project_id
  region         = var.region
  default_labels = local.labels
}
