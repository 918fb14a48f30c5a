# The values are put in by a person: gcloud secrets versions add NAME --data-file FILE
resource "google_secret_manager_secret" "variable" {
  for_each  = setunion(var.secrets, ["TRIMTAB_DATABASE_URL"])
  secret_id = "${local.name}-${each.key}"
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
  depends_on = [google_project_service.api]
}
