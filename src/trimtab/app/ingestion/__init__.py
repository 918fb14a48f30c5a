"""Keeps streams flowing into tables and online values."""
