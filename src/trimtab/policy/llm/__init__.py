"""The section `llm` of trimtab.yaml: prompts."""
