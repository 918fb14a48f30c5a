"""Metadata stores: the book of records."""

from trimtab.stores.metadata.contract import Metadata, latest, newest_until

__all__ = ["Metadata", "latest", "newest_until"]
