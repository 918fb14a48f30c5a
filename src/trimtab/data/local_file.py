"""A file of a source on a local disk: its name, its content, and whether it changed while it was read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import DataError


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    name: str
    """The name under which the file is recorded: its path below the project folder, else its full path, or its URL."""
    path: Path

    @property
    def where(self) -> str:
        """How messages name the file."""
        return str(self.path)

    def hash(self) -> str:
        """Return the SHA-256 of the content as 64 hex digits."""
        return file_hash(self.path)

    @contextmanager
    def local(self) -> Iterator[Path]:
        """Give the path of the content. Raises DataError when the content changes meanwhile."""
        with unchanged(self.path):
            yield self.path


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raise DataError if a file is written to while the block hashes and reads it."""
    before = path.stat()
    yield
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DataError(f"{path}: the file changed while it was read; run this again when it is complete")
