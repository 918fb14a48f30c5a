# What nodes and pods may do. Pods read their secrets, and use the bucket.
resource "google_service_account" "part" {
  for_each     = local.accounts
  account_id   = each.value
  display_name = "${each.key} of ${local.name}"
}

resource "google_project_iam_member" "node" {
  project = var.project_id
  role    = "roles/container.defaultNodeServiceAccount"
  member  = google_service_account.part["node"].member
}

resource "google_artifact_registry_repository_iam_member" "node" {
  repository = var.project
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.part["node"].member
  depends_on = [google_artifact_registry_repository.images]
}

# Pods with this service account of Kubernetes act as the account of pods.
resource "google_service_account_iam_member" "pod" {
  service_account_id = google_service_account.part["pod"].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project_id}.svc.id.goog[${var.namespace}/${var.service_account}]"
  depends_on         = [google_container_cluster.main]
}

resource "google_secret_manager_secret_iam_member" "pod" {
  for_each  = google_secret_manager_secret.variable
  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.part["pod"].member
}

resource "google_storage_bucket_iam_member" "pod" {
  bucket = google_storage_bucket.main.name
  role   = "roles/storage.objectUser"
  member = google_service_account.part["pod"].member
}

resource "google_project_iam_member" "cluster_admin" {
  for_each = var.cluster_admins
  project  = var.project_id
  role     = "roles/container.admin"
  member   = each.key
}
