# GKE in Autopilot mode: Google runs the nodes and their updates; a pod is paid by what it asks for.
resource "google_container_cluster" "main" {
  name                = local.name
  location            = var.region
  enable_autopilot    = true
  deletion_protection = var.protected
  network             = google_compute_network.main.id
  subnetwork          = google_compute_subnetwork.main.id
  release_channel {
    channel = "REGULAR"
  }
  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }
  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = length(var.api_callers) == 0
  }
  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.api_callers
      content {
        cidr_block = cidr_blocks.value
      }
    }
  }
  cluster_autoscaling {
    auto_provisioning_defaults {
      service_account = google_service_account.part["node"].email
      oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    }
  }
}
