resource "google_artifact_registry_repository" "images" {
  count         = var.create_registry ? 1 : 0
  repository_id = var.project
  location      = var.region
  format        = "DOCKER"
  description   = "Images of ${var.project}"
  kms_key_name  = var.key
  docker_config {
    immutable_tags = true
  }
  cleanup_policies {
    id     = "newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = var.images_kept
    }
  }
  cleanup_policies {
    id     = "older"
    action = "DELETE"
    condition {
      older_than = "2592000s" # 30 days; the newest are kept whatever their age is
    }
  }
  depends_on = [google_project_service.api]
}
