"""Modules of Terraform for AWS and Google Cloud; those in aws/ and gcp/ are copied as they are."""
