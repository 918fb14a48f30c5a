"""Adapters of local models: trained on rows of a table, and named by a prompt like any model."""
