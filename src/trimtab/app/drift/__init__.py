"""Compares two tables, or one window after the other with a reference; needs no project."""
