"""The artifact store in a local folder: `bundles/delay/3` is ROOT/bundles/delay/3.

A folder is filled in ROOT/.staging, synced to disk, then renamed to its place, so a name leads to all of it or
to nothing. A published folder holds a file; the folders above it hold folders only.
A store has a staging area of its own and holds the area's lock until the process ends. The system releases the locks
of ended processes. The next store that is opened finds those areas unlocked and removes them.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trimtab.errors import Conflict, NotFound, StoreError, nearest
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.faults import Fault

STAGING = ".staging"
LOCK = ".lock"
READ_BYTES = 2**20
"""Bytes of a checked file that are read at once."""

_PART = re.compile(r"[A-Za-z0-9_@=+-][A-Za-z0-9_@=+.-]*")


class FolderArtifacts:
    """Immutable folders on a local disk; safe to share between threads and processes."""

    def __init__(self, root: Path) -> None:
        """Open a folder of artifacts; it is created when missing. Staging areas of ended processes are removed."""
        self._root = root.resolve()
        self._areas = self._root / STAGING
        self._areas.mkdir(parents=True, exist_ok=True)
        self._area: Path | None = None
        with self._alone():
            for area in self._areas.iterdir():
                if area.is_dir() and _is_free(area / LOCK):
                    shutil.rmtree(area, ignore_errors=True)

    def staging(self) -> Path:
        """Return a new empty folder to fill, on the store's own file system."""
        with self._alone():
            if self._area is None:
                self._area = _new_area(self._areas)
        return Path(tempfile.mkdtemp(dir=self._area))

    def publish(self, folder: Path, name: str) -> str:
        """Move a staging folder to `name` and return the name; the first folder of a name stays."""
        target = self._target(name)
        folder = folder.resolve()
        if not folder.is_dir() or folder.parent != self._area:
            raise StoreError(f"'{folder}' is no staging folder of this store; ask for one with staging()")
        if not _is_published(folder):
            raise StoreError(f"artifact '{name}': the folder has no file at its top, so it would not be found again")
        _sync(folder)
        with self._alone():
            if _is_published(target):
                shutil.rmtree(folder)
                return name
            self._expect_room(name, target)
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
            for parent in target.parents[: len(Path(name).parts)]:
                _sync_one(parent)
        return name

    def open(self, name: str) -> Path:
        """Return the folder with the content. Raises NotFound."""
        target = self._target(name)
        if not _is_published(target):
            raise NotFound(f"there is no artifact '{name}'.{nearest(name, self.names())}")
        return target

    def exists(self, name: str) -> bool:
        """Return True if `name` was published."""
        return _is_published(self._target(name))

    def names(self, prefix: str = "") -> Sequence[str]:
        """Return published names that start with `prefix`, sorted."""
        return sorted(name for name in self._walk(self._root) if name.startswith(prefix))

    def check(self) -> Sequence[Fault]:
        """Read every file."""
        found: list[Fault] = []
        for name in self.names():
            for path in sorted(self._target(name).rglob("*")):
                try:
                    if not path.is_dir():
                        _read(path)
                except OSError as error:
                    text = f"artifact '{name}': {path} cannot be read: {error.strerror}"
                    found.append(Fault(text=text, remedy="restore the file from a backup"))
        return found

    def _walk(self, folder: Path) -> Iterator[str]:
        for child in folder.iterdir():
            if child.name == STAGING or not child.is_dir():
                continue
            if _is_published(child):
                yield child.relative_to(self._root).as_posix()
            else:
                yield from self._walk(child)

    def _target(self, name: str) -> Path:
        parts = name.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            raise StoreError(
                f"'{name}' is no name for an artifact: expected parts joined by '/', each of letters, digits and "
                "_ @ = + - . and not beginning with a dot, such as 'bundles/delay/3'"
            )
        return self._root.joinpath(*parts)

    def _expect_room(self, name: str, target: Path) -> None:
        above = next((parent for parent in target.parents[: name.count("/")] if _is_published(parent)), None)
        below = next(self._walk(target), None) if target.is_dir() else None
        if above is not None or below is not None:
            other = above.relative_to(self._root).as_posix() if above else below
            raise Conflict(f"artifact '{name}' cannot be published, because '{other}' is; one would contain the other")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other stores of this folder from publishing or cleaning up."""
        with (self._areas / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_published(folder: Path) -> bool:
    try:
        return any(entry.is_file() for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _read(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(READ_BYTES):
            pass


def _new_area(areas: Path) -> Path:
    """Make a staging area and lock it. The file stays open, so the lock lasts until the process ends."""
    area = Path(tempfile.mkdtemp(dir=areas))
    fcntl.flock(os.open(area / LOCK, os.O_CREAT | os.O_WRONLY), fcntl.LOCK_EX)
    return area


def _is_free(lock: Path) -> bool:
    """Return True if no process holds the lock."""
    try:
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def _sync(folder: Path) -> None:
    """Sync a folder and everything below it to disk."""
    for parent, _, files in os.walk(folder):
        for file in files:
            _sync_one(Path(parent) / file)
        _sync_one(Path(parent))


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_: type[Artifacts] = FolderArtifacts
