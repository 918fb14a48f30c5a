"""Verbs of delivery: what pipelines run in addition to the stages, and promotion between environments."""
