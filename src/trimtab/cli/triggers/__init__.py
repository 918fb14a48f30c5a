"""The verb of triggers."""
