locals {
  name   = "${var.project}-${var.environment}"
  bucket = coalesce(var.bucket, "${var.project_id}-trimtab")
  labels = {
    project     = var.project
    environment = var.environment
    managed-by  = "terraform"
  }
  apis = toset([
    "artifactregistry.googleapis.com",
    "compute.googleapis.com",
    "container.googleapis.com",
    "monitoring.googleapis.com",
    "secretmanager.googleapis.com",
    "servicenetworking.googleapis.com",
    "sqladmin.googleapis.com",
    "storage.googleapis.com",
  ])
  # A sixteenth for nodes, a sixteenth for services, half for pods.
  ranges = {
    nodes    = cidrsubnet(var.network, 4, 0)
    services = cidrsubnet(var.network, 4, 1)
    pods     = cidrsubnet(var.network, 1, 1)
  }
  # Accounts have names of at most 30 characters.
  accounts = { for part in ["node", "pod"] : part => "${substr(var.project, 0, 14)}-${substr(var.environment, 0, 6)}-${part}" }
}
