# Plans with a provider that answers by itself; the schema is that of the real one.
mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

run "safe_by_default" {
  command = plan
  assert {
    condition     = aws_s3_bucket.main.bucket == "flight-delays-trimtab-123456789012"
    error_message = "the name of the bucket is ${aws_s3_bucket.main.bucket}"
  }
  assert {
    condition     = aws_s3_bucket_versioning.main.versioning_configuration[0].status == "Enabled" && !aws_s3_bucket.main.force_destroy
    error_message = "the bucket loses objects"
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.main.block_public_acls,
      aws_s3_bucket_public_access_block.main.block_public_policy,
      aws_s3_bucket_public_access_block.main.ignore_public_acls,
      aws_s3_bucket_public_access_block.main.restrict_public_buckets,
    ])
    error_message = "the bucket can be public"
  }
  assert {
    condition     = aws_db_instance.main.storage_encrypted && !aws_db_instance.main.publicly_accessible && aws_db_instance.main.deletion_protection
    error_message = "the database is open, or can be lost"
  }
  assert {
    condition     = aws_db_instance.main.manage_master_user_password && aws_db_instance.main.password == null
    error_message = "the password of the database is in the state"
  }
  assert {
    condition     = tolist(aws_db_parameter_group.main.parameter)[0].name == "rds.force_ssl" && tolist(aws_db_parameter_group.main.parameter)[0].value == "1"
    error_message = "the database takes connections that are not encrypted"
  }
  assert {
    condition     = !aws_eks_cluster.main.vpc_config[0].endpoint_public_access && aws_eks_cluster.main.vpc_config[0].endpoint_private_access
    error_message = "the cluster can be reached from outside"
  }
  assert {
    condition     = keys(aws_ecr_repository.image) == ["gateway", "loop", "training"] && aws_ecr_repository.image["loop"].name == "flight-delays-loop"
    error_message = "images: ${join(", ", keys(aws_ecr_repository.image))}"
  }
  assert {
    condition     = aws_ecr_repository.image["gateway"].image_tag_mutability == "IMMUTABLE" && aws_kms_key.main.enable_key_rotation
    error_message = "a tag can get another image, or the key is never rotated"
  }
  assert {
    condition     = length(distinct(concat(aws_subnet.private[*].cidr_block, aws_subnet.public[*].cidr_block))) == 4
    error_message = "two subnets have the same range, or the database lacks a second zone"
  }
  assert {
    condition     = keys(aws_secretsmanager_secret.variable) == ["SHOP_TOKEN"]
    error_message = "secrets: ${join(", ", keys(aws_secretsmanager_secret.variable))}"
  }
}

run "another_environment" {
  command = plan
  variables {
    environment     = "staging"
    bucket          = "flights-staging"
    create_registry = false
    protected       = false
    api_callers     = ["203.0.113.0/28"]
    alarm_emails    = ["ml@example.com"]
  }
  assert {
    condition     = length(aws_ecr_repository.image) == 0 && endswith(output.images["loop"], "/flight-delays-loop")
    error_message = "the repositories are made twice"
  }
  assert {
    condition     = aws_eks_cluster.main.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/28"]) && aws_eks_cluster.main.name == "flight-delays-staging"
    error_message = "others than those named can reach the cluster"
  }
  assert {
    condition     = aws_db_instance.main.skip_final_snapshot && length(aws_sns_topic_subscription.email) == 1
    error_message = "what is not protected cannot be destroyed, or nobody gets the alarms"
  }
}

run "wrong_values" {
  command = plan
  variables {
    project             = "Flight delays"
    environment         = "the-third"
    region              = "eu-central-1a"
    account_ids         = ["123"]
    bucket              = "Flights"
    images_kept         = 1
    secrets             = ["a b"]
    cluster_admins      = ["anna"]
    api_callers         = ["0.0.0.0/0"]
    network             = "10.0.0.0/8"
    zones               = 1
    database_instance   = "t4g.small"
    database_storage_gb = 5
    backup_days         = 0
    log_days            = 42
    alarm_emails        = ["anna"]
  }
  expect_failures = [
    var.project, var.environment, var.region, var.account_ids, var.bucket, var.images_kept, var.secrets, var.cluster_admins,
    var.api_callers, var.network, var.zones, var.database_instance, var.database_storage_gb, var.backup_days, var.log_days,
    var.alarm_emails,
  ]
}
