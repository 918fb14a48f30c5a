"""Contents that were erased: one small file an erasure, by which readers leave rows out until compaction deletes them.

A segment cannot be changed, and its writer may be another process. So an erasure is noted first, in a file of its own,
and holds for all readers from then on. Compaction deletes such rows from the table, and removes the note when no file
can have such a row any more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from trimtab.clock import to_micros
from trimtab.errors import StoreError
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.predictions.contract import ErasedBy
from trimtab.stores.predictions.embedded.segment_folder import Segment, sync_folder
from trimtab.stores.predictions.embedded.segment_scan import Damages, format_of, scan

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa = LazyLibrary("pyarrow")
    pc = LazyLibrary("pyarrow.compute")

KIND = "contents"
PREFIX = "erased-"
ERASED_BY = (*get_args(ErasedBy), "at")
"""Columns that say if a row is erased."""


class Erasure(msgspec.Struct, frozen=True):
    """Rows of one turn, user or conversation that were logged until a time, in microseconds since 1970."""

    by: ErasedBy
    value: str
    until: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{PREFIX}{hashlib.sha256(f'{self.by}={self.value}'.encode()).hexdigest()[:24]}-{self.until}.json"

    def covers(self, row: dict[str, Any]) -> bool:
        """Return True if a row is erased."""
        return bool(row[self.by] == self.value and to_micros(row["at"]) <= self.until)


def note_erasure(folder: Path, erasure: Erasure) -> None:
    """Write an erasure to disk. Raises StoreError."""
    path = folder / erasure.name
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(erasure))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise StoreError(f"{folder}: cannot note that text is erased: {error.strerror}") from None


def erasures(folder: Path) -> list[Erasure]:
    """Return the erasures that are noted. Raises StoreError."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(PREFIX)]
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        with suppress(FileNotFoundError):  # compaction has finished it
            try:
                found.append(msgspec.json.decode((folder / name).read_bytes(), type=Erasure))
            except msgspec.DecodeError as error:
                raise StoreError(f"{folder / name}: damaged ({error}); restore the file from a backup") from None
    return found


def left(rows: pa.Table, found: Sequence[Erasure]) -> npt.NDArray[np.bool_]:
    """Return for each row if it is not erased."""
    keep = np.ones(rows.num_rows, np.bool_)
    logged = rows["at"].cast(pa.int64()).to_numpy()
    for each in found:
        keep &= ~(pc.fill_null(pc.equal(rows[each.by], each.value), False).to_numpy() & (logged <= each.until))
    return keep


def forget_finished(folder: Path, found: Sequence[Erasure], files: Sequence[Segment]) -> None:
    """Remove the notes of erasures that no file can have rows of. files: the segments of contents that are left."""
    begun = [time for time in map(_first_time, files) if time is not None]
    for each in found:
        if not begun or each.until < min(begun):
            (folder / each.name).unlink(missing_ok=True)


def _first_time(segment: Segment) -> int | None:
    """Return when the first row of a segment was logged; None where it has no row."""
    with suppress(FileNotFoundError):
        for append in scan(segment.path, KIND, Damages(quiet=True)):
            return to_micros(format_of(segment.path).rows_of(append.body, KIND)[0]["at"])
    return None
