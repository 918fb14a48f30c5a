"""The tables store: its contract; backends are opened by name."""

from trimtab.stores.tables.contract import Tables

__all__ = ["Tables"]
