"""How much disk the stores of a project take, by folder."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from trimtab.app.project.workspace import Workspace

KEPT_FOR = timedelta(minutes=1)
"""A measurement is used again for so long: an artifact store can have 100,000 files."""

NOT_STORES = (".gitignore", "ledger.head")
"""Small files beside the stores."""


class FolderSize(msgspec.Struct, frozen=True, kw_only=True):
    """One folder or file of the embedded stores."""

    name: str
    bytes: int
    files: int


def storage(workspace: Workspace) -> tuple[FolderSize, ...]:
    """Return what lies in the folder of the embedded stores, the largest first."""
    now, known = workspace.now(), _KNOWN.get(workspace.root)
    if known is not None and now - known[0] < KEPT_FOR:
        return known[1]
    found: dict[str, list[int]] = {}
    for entry in _entries(workspace.root):
        if entry.name in NOT_STORES:
            continue
        # the files of SQLite beside a database, such as metadata.db-wal, count as the database
        name = entry.name if entry.is_dir(follow_symlinks=False) else entry.name.partition("-")[0]
        size = found.setdefault(name, [0, 0])
        for bytes_ in _sizes(entry):
            size[0] += bytes_
            size[1] += 1
    sizes = tuple(
        FolderSize(name=name, bytes=bytes_, files=files)
        for name, (bytes_, files) in sorted(found.items(), key=lambda each: -each[1][0])
    )
    _KNOWN[workspace.root] = (now, sizes)
    return sizes


def _sizes(entry: os.DirEntry[str]) -> list[int]:
    try:
        if not entry.is_dir(follow_symlinks=False):
            return [entry.stat(follow_symlinks=False).st_size]
    except FileNotFoundError:  # it has been replaced or removed meanwhile
        return []
    return [size for inner in _entries(Path(entry.path)) for size in _sizes(inner)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


_KNOWN: dict[Path, tuple[datetime, tuple[FolderSize, ...]]] = {}
