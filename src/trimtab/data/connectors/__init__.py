"""Connectors: how the rows of each kind of source are fetched."""
