"""The contract of the artifact store: folders that appear whole and never change.

Guarantees
- `publish` is atomic: a name either leads to a complete folder or to nothing.
- Publishing a name again keeps the first folder and discards the new one.
- A published folder is on disk when `publish` returns.
- A name is one or more parts joined by '/', and neither begins with a published name nor lies above one.
- Staging folders live as long as the process that asked for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from trimtab.stores.faults import Fault


class Artifacts(Protocol):
    """Immutable folders by name, such as `bundles/delay/3`."""

    def staging(self) -> Path:
        """Return a new empty folder to fill, on the store's own file system."""
        ...

    def publish(self, folder: Path, name: str) -> str:
        """Move a staging folder to `name` and return the name.

        The folder holds at least one file beside any folders. Raises StoreError, Conflict.
        """
        ...

    def open(self, name: str) -> Path:
        """Return a local folder with the content. Raises NotFound."""
        ...

    def exists(self, name: str) -> bool:
        """Return True if `name` was published."""
        ...

    def check(self) -> Sequence[Fault]:
        """Read all that the store holds, and return what is wrong with it; nothing is changed. Raises StoreError."""
        ...

    def names(self, prefix: str = "") -> Sequence[str]:
        """Return published names that start with `prefix`, sorted."""
        ...
