# The values are put in by a person: aws secretsmanager put-secret-value --secret-id NAME --secret-string VALUE
resource "aws_secretsmanager_secret" "variable" {
  for_each                = var.secrets
  name                    = "${local.name}/${each.key}"
  description             = "Environment variable ${each.key} of ${local.name}"
  kms_key_id              = aws_kms_key.main.arn
  recovery_window_in_days = var.protected ? 30 : 0
}
