"""The section `deploy` of trimtab.yaml: what the files for other systems say."""
