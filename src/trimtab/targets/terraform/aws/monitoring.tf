# The machines. What the models do is in the rules of `trimtab export grafana`.
resource "aws_sns_topic" "alarms" {
  name              = "${local.name}-alarms"
  kms_master_key_id = aws_kms_key.main.key_id
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = var.alarm_emails
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

locals {
  alarms = {
    disk = {
      metric      = "FreeStorageSpace"
      comparison  = "LessThanThreshold"
      threshold   = 0.15 * var.database_storage_gb * pow(1024, 3)
      description = "Less than 15 % of the database's first disk size is free"
    }
    cpu = {
      metric      = "CPUUtilization"
      comparison  = "GreaterThanThreshold"
      threshold   = 85
      description = "The database has used more than 85 % of its processors for 15 minutes"
    }
    memory = {
      metric      = "FreeableMemory"
      comparison  = "LessThanThreshold"
      threshold   = 128 * pow(1024, 2)
      description = "Less than 128 MB of the database's memory are free"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "database" {
  for_each            = local.alarms
  alarm_name          = "${local.name}-database-${each.key}"
  alarm_description   = each.value.description
  namespace           = "AWS/RDS"
  metric_name         = each.value.metric
  dimensions          = { DBInstanceIdentifier = aws_db_instance.main.identifier }
  statistic           = "Average"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
