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

variable "project_id" {
  description = "Id of the project of Google Cloud."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is '${var.project_id}'; expected 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "Region of Google Cloud, such as europe-west3."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is '${var.region}'; expected a region, not a zone, such as europe-west3."
  }
}

variable "bucket" {
  description = "Name of the bucket; null for the id of the project with -trimtab."
  type        = string
  default     = null
  validation {
    condition     = var.bucket == null || can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket is no name of a bucket; expected 3 to 63 lower-case letters, digits, dots, hyphens and underscores."
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

variable "key" {
  description = "Key of Cloud KMS in the region, for bucket and images; null for keys that Google keeps."
  type        = string
  default     = null
  validation {
    condition     = var.key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.key))
    error_message = "key is no key; expected projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY."
  }
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

variable "cluster_admins" {
  description = "People, groups or accounts that may administer the cluster, such as group:ml@example.com."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for member in var.cluster_admins : can(regex("^(user|group|serviceAccount):[^@ ]+@[^@ ]+$", member))])
    error_message = "cluster_admins holds something else than user:, group: or serviceAccount: with an address."
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
  description = "Address range of nodes, pods and services; a /16."
  type        = string
  default     = "10.20.0.0/16"
  validation {
    condition     = can(cidrhost(var.network, 0)) && try(split("/", var.network)[1], "") == "16"
    error_message = "network is '${var.network}'; expected an address range of /16, such as 10.20.0.0/16."
  }
}

variable "database_tier" {
  description = "Machine of the database."
  type        = string
  default     = "db-custom-1-3840"
  validation {
    condition     = can(regex("^db-(custom-[0-9]+-[0-9]+|[a-z0-9-]+)$", var.database_tier))
    error_message = "database_tier is '${var.database_tier}'; expected such as db-custom-1-3840."
  }
}

variable "database_storage_gb" {
  description = "Disk of the database in GB; it grows by itself as it is needed."
  type        = number
  default     = 20
  validation {
    condition     = var.database_storage_gb >= 10
    error_message = "database_storage_gb must be at least 10."
  }
}

variable "database_standby" {
  description = "Keep a second database in another zone, which takes over."
  type        = bool
  default     = false
}

variable "backup_days" {
  description = "Daily backups of the database that are kept; any second of the last 7 days can be restored."
  type        = number
  default     = 14
  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 365
    error_message = "backup_days must be 1 to 365."
  }
}

variable "protected" {
  description = "Refuse to destroy the database, the cluster and a bucket that holds objects."
  type        = bool
  default     = true
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
