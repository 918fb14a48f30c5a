locals {
  name = "${var.project}-${var.environment}"
  # As in deploy.image: a part is added.
  repositories = { for part in var.images : part => "${coalesce(var.repository, var.project)}-${part}" }
  tags = {
    project     = var.project
    environment = var.environment
    managed-by  = "terraform"
  }
}
