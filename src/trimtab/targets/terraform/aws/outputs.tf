output "images" {
  description = "Repository of each image, for deploy.image and the chart."
  value = {
    for part, name in local.repositories :
    part => "${data.aws_caller_identity.current.account_id}.dkr.ecr.${var.region}.${data.aws_partition.current.dns_suffix}/${name}"
  }
}

output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.main.id
}

output "database" {
  description = "Address of the database, and the ARN of the secret with its user and password."
  value = {
    address = aws_db_instance.main.address
    port    = aws_db_instance.main.port
    name    = aws_db_instance.main.db_name
    secret  = one([for secret in aws_db_instance.main.master_user_secret : secret.secret_arn])
  }
}

output "secrets" {
  description = "ARN of each secret by the name of its environment variable."
  value       = { for name, secret in aws_secretsmanager_secret.variable : name => secret.arn }
}

output "role" {
  description = "ARN of the role of the pods."
  value       = aws_iam_role.pod.arn
}

output "kubeconfig" {
  description = "Command that lets kubectl and helm reach the cluster."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.main.name}"
}

output "storage_class" {
  description = "Storage class of encrypted disks that outlive their claim: terraform output -raw storage_class | kubectl apply -f -"
  value = yamlencode({
    apiVersion           = "storage.k8s.io/v1"
    kind                 = "StorageClass"
    metadata             = { name = "trimtab", annotations = { "storageclass.kubernetes.io/is-default-class" = "true" } }
    provisioner          = "ebs.csi.eks.amazonaws.com"
    parameters           = { type = "gp3", encrypted = "true" }
    reclaimPolicy        = "Retain"
    allowVolumeExpansion = true
    volumeBindingMode    = "WaitForFirstConsumer"
  })
}
