# Shows the names that names.tf makes.
resource "terraform_data" "probe" {
  input = local.labels
}

output "name" { value = local.name }
output "bucket" { value = local.bucket }
output "ranges" { value = local.ranges }
output "accounts" { value = local.accounts }
