"""Reads files, checks their rows, and appends them to versioned tables; failing rows go to a quarantine table."""
