"""The contract of the artifact store: folders that appear whole and never change.

Guarantees
- `publish` is atomic: a name leads to a complete folder or to nothing.
- Publishing a name again keeps the first folder and discards the new one.
- A published folder is on disk when `publish` returns.
- A name is one or more parts joined by '/'. No published name is a folder inside or above another one.
- Staging folders exist as long as the process that asked for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from trimtab.stores.faults import Fault


class Artifacts(Protocol):
    """Immutable folders by name, such as `bundles/delay/3`.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.stores.catalog import open_artifacts
    >>> root = TemporaryDirectory()
    >>> artifacts = open_artifacts(None, Path(root.name))
    >>> folder = artifacts.staging()
    >>> _ = (folder / "model.txt").write_text("weights")
    >>> artifacts.publish(folder, "bundles/delay/3")
    'bundles/delay/3'
    >>> (artifacts.open("bundles/delay/3") / "model.txt").read_text()
    'weights'
    """

    def staging(self) -> Path:
        """Return a new empty folder to fill, on the store's own file system."""
        ...

    def publish(self, folder: Path, name: str) -> str:
        """Move a staging folder to a name and return the name.

        Args:
            folder: a folder of `staging`; at least one file is at its top.
            name: parts of letters, digits and "_@=+-.", joined by "/".

        Raises:
            StoreError: the folder or the name does not fit.
            Conflict: the name lies inside or above a published one.
        """
        ...

    def open(self, name: str) -> Path:
        """Return a local folder with the content. Raises NotFound."""
        ...

    def exists(self, name: str) -> bool:
        """Return True if `name` was published."""
        ...

    def check(self) -> Sequence[Fault]:
        """Read the whole store and return its faults, without changing anything. Raises StoreError."""
        ...

    def names(self, prefix: str = "") -> Sequence[str]:
        """Return published names that start with `prefix`, sorted."""
        ...
