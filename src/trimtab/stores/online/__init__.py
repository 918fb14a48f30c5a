"""The online store: its contract; backends are opened by name."""

from trimtab.stores.online.contract import Online

__all__ = ["Online"]
