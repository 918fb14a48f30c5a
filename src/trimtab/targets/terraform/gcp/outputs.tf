output "images" {
  description = "Repository of the images, for deploy.image and the chart: a part and a tag are added."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${var.project}/${var.project}"
}

output "bucket" {
  description = "Name of the bucket."
  value       = google_storage_bucket.main.name
}

output "database" {
  description = "Address of the database. Its URL with user and password goes into the secret TRIMTAB_DATABASE_URL."
  value = {
    address  = google_sql_database_instance.main.private_ip_address
    instance = google_sql_database_instance.main.connection_name
    name     = google_sql_database.main.name
  }
}

output "secrets" {
  description = "Id of each secret by the name of its environment variable."
  value       = { for name, secret in google_secret_manager_secret.variable : name => secret.secret_id }
}

output "accounts" {
  description = "Service accounts; that of Kubernetes is annotated with the one of pods (iam.gke.io/gcp-service-account)."
  value       = { for name, account in google_service_account.part : name => account.email }
}

output "kubeconfig" {
  description = "Command that lets kubectl and helm reach the cluster."
  value       = "gcloud container clusters get-credentials ${google_container_cluster.main.name} --region ${var.region} --project ${var.project_id}"
}

output "storage_class" {
  description = "Storage class of disks that outlive their claim: terraform output -raw storage_class | kubectl apply -f -"
  value = yamlencode({
    apiVersion           = "storage.k8s.io/v1"
    kind                 = "StorageClass"
    metadata             = { name = "trimtab" }
    provisioner          = "pd.csi.storage.gke.io"
    parameters           = { type = "pd-balanced" }
    reclaimPolicy        = "Retain"
    allowVolumeExpansion = true
    volumeBindingMode    = "WaitForFirstConsumer"
  })
}
