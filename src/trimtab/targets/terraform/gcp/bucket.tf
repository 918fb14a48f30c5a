resource "google_storage_bucket" "main" {
  name                        = local.bucket
  location                    = var.region
  force_destroy               = !var.protected
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  versioning {
    enabled = true
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = var.bucket_keep_days
      with_state                 = "ARCHIVED"
    }
  }
  dynamic "encryption" {
    for_each = var.key == null ? [] : [var.key]
    content {
      default_kms_key_name = encryption.value
    }
  }
  depends_on = [google_project_service.api]
}
