"""What a project's stores say about it: status, summary, lineage, checks."""
