"""Metadata stores: the book of records."""
