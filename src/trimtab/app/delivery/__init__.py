"""What pipelines run beside the stages: contract and smoke tests, summaries, promotion between environments."""
