"""Metadata stores: the book of records."""

from trimtab.stores.metadata.contract import Metadata, latest

__all__ = ["Metadata", "latest"]
