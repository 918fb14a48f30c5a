# The machines. What the models do is in the rules of `trimtab export grafana`.
resource "google_monitoring_notification_channel" "email" {
  for_each     = var.alarm_emails
  display_name = each.key
  type         = "email"
  labels       = { email_address = each.key }
  depends_on   = [google_project_service.api]
}

locals {
  alarms = {
    disk   = { metric = "disk/utilization", description = "More than 85 % of the database's disk is in use" }
    cpu    = { metric = "cpu/utilization", description = "The database has used more than 85 % of its processors for 15 minutes" }
    memory = { metric = "memory/utilization", description = "More than 85 % of the database's memory is in use" }
  }
}

resource "google_monitoring_alert_policy" "database" {
  for_each              = local.alarms
  display_name          = "${local.name} database ${each.key}"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.name]
  conditions {
    display_name = each.value.description
    condition_threshold {
      filter          = "resource.type = \"cloudsql_database\" AND resource.labels.database_id = \"${var.project_id}:${google_sql_database_instance.main.name}\" AND metric.type = \"cloudsql.googleapis.com/database/${each.value.metric}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0.85
      duration        = "900s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MEAN"
      }
    }
  }
  documentation {
    content = each.value.description
  }
}
