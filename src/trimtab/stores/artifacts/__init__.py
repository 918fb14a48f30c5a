"""The artifacts store: its contract; backends are opened by name."""

from trimtab.stores.artifacts.contract import Artifacts

__all__ = ["Artifacts"]
