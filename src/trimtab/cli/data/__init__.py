"""The verbs of data: checks, quarantined rows, tables, streams."""
