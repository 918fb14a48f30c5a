"""Stores: metadata, tables, online values, artifacts. A contract and one file a backend each."""
