# Runs on variables.tf and names.tf alone, which need no provider.
run "names" {
  command = plan
  assert {
    condition     = output.name == "flight-delays-production" && output.bucket == "flights-prod-4711-trimtab"
    error_message = "names: ${output.name}, ${output.bucket}"
  }
  assert {
    condition     = output.ranges == { nodes = "10.20.0.0/20", services = "10.20.16.0/20", pods = "10.20.128.0/17" }
    error_message = "ranges: ${jsonencode(output.ranges)}"
  }
  assert {
    condition     = alltrue([for name in values(output.accounts) : can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", name))])
    error_message = "accounts: ${jsonencode(output.accounts)}"
  }
}

run "longest_names" {
  command = plan
  variables {
    project     = "abcdefghijklmnopqrstuvwx"
    environment = "abcdefghijkl"
    bucket      = null
  }
  assert {
    condition     = alltrue([for name in values(output.accounts) : can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", name))])
    error_message = "accounts: ${jsonencode(output.accounts)}"
  }
  assert {
    condition     = output.bucket == "flights-prod-4711-trimtab"
    error_message = "bucket: ${output.bucket}"
  }
}

run "wrong_values" {
  command = plan
  variables {
    project             = "Flight delays"
    environment         = "the-third"
    project_id          = "4711"
    region              = "europe-west3-a"
    bucket              = "Flights"
    bucket_keep_days    = 0.5
    key                 = "my-key"
    images_kept         = 1
    secrets             = ["a b"]
    cluster_admins      = ["anna"]
    api_callers         = ["0.0.0.0/0"]
    network             = "10.0.0.0/8"
    database_tier       = "small"
    database_storage_gb = 5
    backup_days         = 0
    alarm_emails        = ["anna"]
  }
  expect_failures = [
    var.project, var.environment, var.project_id, var.region, var.bucket, var.bucket_keep_days, var.key, var.images_kept,
    var.secrets, var.cluster_admins, var.api_callers, var.network, var.database_tier, var.database_storage_gb,
    var.backup_days, var.alarm_emails,
  ]
}
