variable "project" {
  description = "Name of the project; everything is named after it and the environment."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.project)) && !strcontains(var.project, "--")
    error_message = "project is '${var.project}'; expected 2 to 24 lower-case letters, digits and single hyphens, beginning with a letter."
  }
}

variable "environment" {
  description = "The entry of environments: in trimtab.yaml that lives here, such as staging or production."
  type        = string
  default     = "production"
  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,11}$", var.environment))
    error_message = "environment is '${var.environment}'; expected 2 to 12 lower-case letters and digits, such as production."
  }
}

variable "region" {
  description = "Region of AWS, such as eu-central-1."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[1-9]$", var.region))
    error_message = "region is '${var.region}'; expected a region, not a zone, such as eu-central-1."
  }
}

variable "account_ids" {
  description = "Accounts that this may be applied to; empty for any. A check against the wrong credentials."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for id in var.account_ids : can(regex("^[0-9]{12}$", id))])
    error_message = "account_ids holds something else than twelve digits."
  }
}

variable "bucket" {
  description = "Name of the bucket; null for PROJECT-trimtab-ACCOUNT."
  type        = string
  default     = null
  validation {
    condition     = var.bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket is no name of a bucket; expected 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "bucket_keep_days" {
  description = "Days for which earlier versions of objects are kept."
  type        = number
  default     = 90
  validation {
    condition     = var.bucket_keep_days >= 1 && floor(var.bucket_keep_days) == var.bucket_keep_days
    error_message = "bucket_keep_days must be a whole number of at least 1."
  }
}

variable "images" {
  description = "Parts of the images, one repository each."
  type        = set(string)
  default     = ["gateway", "loop", "training"]
}

variable "repository" {
  description = "Repository of the images without host, part and tag, as in deploy.image; null for the name of the project."
  type        = string
  default     = null
}

variable "create_registry" {
  description = "Make the repositories of the images; false where another environment in the same account has made them."
  type        = bool
  default     = true
}

variable "images_kept" {
  description = "Images that a repository keeps; older ones are deleted."
  type        = number
  default     = 50
  validation {
    condition     = var.images_kept >= 2
    error_message = "images_kept must be at least 2, or there is none to go back to."
  }
}

variable "secrets" {
  description = "Names of the environment variables with secrets that policy and definitions refer to. Values do not stand here."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for name in var.secrets : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "secrets holds something else than names of environment variables."
  }
}

variable "namespace" {
  description = "Namespace of Kubernetes that the chart is installed into."
  type        = string
}

variable "service_account" {
  description = "Service account of Kubernetes that the chart gives its pods."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of Kubernetes, such as 1.33; null for the newest at the creation."
  type        = string
  default     = null
}

variable "cluster_admins" {
  description = "ARNs of the roles or users of IAM that may administer the cluster, in addition to the one that creates it."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.cluster_admins : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "cluster_admins holds something else than ARNs of roles or users, such as arn:aws:iam::123456789012:role/admin."
  }
}

variable "api_callers" {
  description = "Address ranges that may reach the cluster's API from outside, such as 203.0.113.7/32; empty for none."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for range in var.api_callers : can(cidrhost(range, 0)) && !endswith(range, "/0")])
    error_message = "api_callers holds something else than address ranges, or all addresses; expected such as 203.0.113.7/32."
  }
}

variable "network" {
  description = "Address range of the network; a /16 to /20."
  type        = string
  default     = "10.20.0.0/16"
  validation {
    condition     = can(cidrhost(var.network, 0)) && contains(["16", "17", "18", "19", "20"], try(split("/", var.network)[1], ""))
    error_message = "network is '${var.network}'; expected an address range of /16 to /20, such as 10.20.0.0/16."
  }
}

variable "zones" {
  description = "Number of availability zones."
  type        = number
  default     = 2
  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "zones must be 2 or 3: the database needs two."
  }
}

variable "database_instance" {
  description = "Instance class of the database."
  type        = string
  default     = "db.t4g.small"
  validation {
    condition     = can(regex("^db\\.[a-z0-9]+\\.[a-z0-9]+$", var.database_instance))
    error_message = "database_instance is '${var.database_instance}'; expected such as db.t4g.small."
  }
}

variable "database_storage_gb" {
  description = "Disk of the database in GB; it grows by itself to five times that."
  type        = number
  default     = 20
  validation {
    condition     = var.database_storage_gb >= 20
    error_message = "database_storage_gb must be at least 20."
  }
}

variable "database_standby" {
  description = "Keep a second database in another zone, which takes over."
  type        = bool
  default     = false
}

variable "backup_days" {
  description = "Days for which backups of the database are kept; any second of them can be restored."
  type        = number
  default     = 14
  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 35
    error_message = "backup_days must be 1 to 35."
  }
}

variable "protected" {
  description = "Refuse to destroy the database, and a bucket and repositories that hold something."
  type        = bool
  default     = true
}

variable "log_days" {
  description = "Days for which logs are kept."
  type        = number
  default     = 90
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_days)
    error_message = "log_days is none that CloudWatch takes; expected such as 30, 90 or 365."
  }
}

variable "alarm_emails" {
  description = "Addresses that get the alarms; each confirms it once."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for address in var.alarm_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "alarm_emails holds something else than addresses of e-mail."
  }
}
