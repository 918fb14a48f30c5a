"""The folder in which the workers of a gateway save their counts for one another and for the guard.

One file a worker, replaced atomically. A restarted worker continues from its predecessor's file, so totals never fall.
A file is not synced to disk: it survives the process, but perhaps not a power failure.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from trimtab.clock import Clock, SystemClock, to_micros
from trimtab.stats.gateway_counts import Snapshot, merge

SUFFIX = ".counts"

logger = logging.getLogger(__name__)

_decoder = msgspec.msgpack.Decoder(Snapshot)
_borders = msgspec.msgpack.Decoder(tuple[float, ...])


class SnapshotFolder:
    """Reads and writes snapshots by worker name. Safe to share between processes, each with its own name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, worker: str, snapshot: Snapshot) -> None:
        """Replace a worker's snapshot. Raises OSError."""
        _replace(self._folder / f"{worker}{SUFFIX}", msgspec.msgpack.encode(snapshot))

    def read(self, worker: str) -> Snapshot | None:
        """Return a worker's snapshot; None when it is missing or unreadable."""
        return _read(self._folder / f"{worker}{SUFFIX}")

    def others(self, worker: str) -> list[Snapshot]:
        """Return the snapshots of all workers except one."""
        paths = sorted(path for path in self._folder.glob(f"*{SUFFIX}") if path.stem != worker)
        return [found for path in paths if (found := _read(path)) is not None]

    def agree(self, model: str, proposed: Sequence[float]) -> tuple[float, ...]:
        """Return the borders of a model's score histogram: those that the first worker proposed."""
        path = self._folder / f"{hashlib.sha256(model.encode()).hexdigest()[:16]}.borders"
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            draft.write_bytes(msgspec.msgpack.encode(tuple(proposed)))
            try:
                os.link(draft, path)  # fails when the file exists, unlike a replacement
            finally:
                draft.unlink()
        except FileExistsError:
            try:
                return _borders.decode(path.read_bytes())
            except msgspec.DecodeError as error:
                logger.warning("%s cannot be read, this worker goes on with its own borders: %s", path, error)
        except OSError as error:
            logger.warning("%s cannot be written, this worker goes on with its own borders: %s", path, error)
        return tuple(proposed)


def read_all(folder: Path, clock: Clock | None = None) -> Snapshot:
    """Return the sum of all snapshots in a folder, for a process that is no worker."""
    now = to_micros((clock or SystemClock()).now())
    return merge(SnapshotFolder(folder).others(""), now=now)


def _read(path: Path) -> Snapshot | None:
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        logger.warning("%s cannot be read, its counts are left out: %s", path, error)
        return None


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)
