"""Processes, their health, logs and storage."""
