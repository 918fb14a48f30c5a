"""Reads that need data libraries, models or MLflow, in a child process."""
