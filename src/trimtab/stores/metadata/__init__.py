"""Metadata stores: the book of records."""

from trimtab.stores.metadata.contract import Metadata, latest, newest_until, newest_where

__all__ = ["Metadata", "latest", "newest_until", "newest_where"]
