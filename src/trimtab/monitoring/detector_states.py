"""Keeps the state of detectors in files, so that a new process steps through the last windows only.

A file is a hint. It is ignored when the reference, the policy or the code have changed since it was written, or when
the records that it was made from are missing or different: then the detectors are stepped through all stored windows,
which leads to the same state bit for bit.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trimtab.clock import EPOCH, to_micros
from trimtab.errors import NotFound
from trimtab.monitoring.detectors import KINDS, Kind, VersionDetectors, newest_of
from trimtab.records.monitoring import Profile, Signal
from trimtab.records.record import Record
from trimtab.stores.metadata.contract import Metadata

log = logging.getLogger(__name__)

CODE = importlib.metadata.version("trimtab")
EVERY = 20
"""The state is written after so many windows. A new process steps through the windows after the last writing again."""


class Snapshot(msgspec.Struct, frozen=True):
    """The content of a file."""

    made_with: str
    """Digest of all that the state depends on except the records."""
    state: dict[str, Any]
    last: dict[str, tuple[int, str, str]]
    """Kind of record -> start (microseconds), id and digest of the last one that the detectors were stepped through."""


class DetectorStates:
    """The files of one project, one a version of a model. folder: None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._windows: dict[tuple[str, int], int] = {}

    def restore(self, detectors: VersionDetectors, metadata: Metadata, model: str, version: int) -> None:
        """Bring new detectors to where the stored records end."""
        found = self._read(model, version)
        after: Mapping[str, int] = {}
        if found is not None and found.made_with == detectors.made_with(CODE) and _is_there(found, metadata):
            detectors.load(found.state)
            after = {kind: start for kind, (start, _, _) in found.last.items()}
        if detectors.restore(metadata, model, version, after=after) >= EVERY:
            self._save(detectors, metadata, model, version)

    def keep(self, detectors: VersionDetectors, metadata: Metadata, model: str, version: int) -> None:
        """Count a window that was judged and is stored; write the state every EVERY windows."""
        count = self._windows[model, version] = self._windows.get((model, version), 0) + 1
        if count % EVERY == 0:
            self._save(detectors, metadata, model, version)

    def _save(self, detectors: VersionDetectors, metadata: Metadata, model: str, version: int) -> None:
        if self._folder is None:
            return
        last = {str(kind): found for kind in KINDS if (found := _last(metadata, model, version, kind)) is not None}
        self._write(model, version, Snapshot(detectors.made_with(CODE), detectors.state(), last))

    def _path(self, model: str, version: int) -> Path | None:
        return None if self._folder is None else self._folder / f"{model}-v{version}.msgpack"

    def _read(self, model: str, version: int) -> Snapshot | None:
        path = self._path(model, version)
        try:
            return None if path is None else msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
        except (OSError, msgspec.DecodeError):
            return None

    def _write(self, model: str, version: int, snapshot: Snapshot) -> None:
        path = self._path(model, version)
        if path is None:
            return
        whole = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole.write_bytes(msgspec.msgpack.encode(snapshot))
            whole.replace(path)
        except OSError as error:  # without it the next start takes longer
            log.warning("%s cannot be written: %s", path, error)


def _last(metadata: Metadata, model: str, version: int, kind: Kind) -> tuple[int, str, str] | None:
    newest = newest_of(metadata, model, version, kind)
    return None if newest is None else (to_micros(newest.start), newest.id, _digest(newest))


def _is_there(snapshot: Snapshot, metadata: Metadata) -> bool:
    """Return True if the records are stored that the state was made from, with the content of then."""
    for kind, (_, id_, digest) in snapshot.last.items():
        try:
            record = metadata.get(Profile, id_) if kind == "profile" else metadata.get(Signal, id_)
        except NotFound:
            return False
        if _digest(record) != digest:
            return False
    return True


def _digest(record: Record) -> str:
    plain = msgspec.structs.replace(record, created_at=EPOCH)
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()
