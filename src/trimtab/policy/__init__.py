"""The policy of a project, trimtab.yaml: what reviewers and auditors read."""
