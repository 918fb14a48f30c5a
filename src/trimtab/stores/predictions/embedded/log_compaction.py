"""Moves ended segments into the Delta tables, and deletes rows that are too old.

For each segment, in this order: append it to the table, with its number as a transaction; note in removed.json that its
rows are now read from the table; remove the file. A process may die between any two of these steps, and the next
compaction continues: it does not append a segment again that is in the table, and readers skip a file that removed.json
names. A segment has ended when it carries the mark of the end, or when a later one exists. The last segment of a writer
that died is ended by creating the next, empty one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from trimtab.clock import Clock
from trimtab.errors import StoreError
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.predictions.contract import COLUMNS, Compaction
from trimtab.stores.predictions.embedded.delta_archive import Archive
from trimtab.stores.predictions.embedded.erasures import ERASED_BY, KIND, Erasure, erasures, forget_finished, left
from trimtab.stores.predictions.embedded.segment_folder import (
    NO_TABLE,
    REMOVED,
    TABLES,
    Segment,
    next_number,
    removed,
    segment_path,
    segments,
    sync_folder,
)
from trimtab.stores.predictions.embedded.segment_reader import BLOCK_ROWS
from trimtab.stores.predictions.embedded.segment_scan import Damages, format_of, scan
from trimtab.stores.predictions.embedded.writer_lock import WriterLock

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LazyLibrary("pyarrow")

LOCK = "compaction.lock"
SET_ASIDE = ".damaged"
"""Added to the name of a segment with damage, which is kept."""


def compact(
    folder: Path, *, clock: Clock, grace_s: float, keep_s: float, contents_s: float | None = None
) -> Compaction:
    """Move ended segments and delete rows older than `keep_s`; return what was done. Raises StoreError.

    grace_s: a segment file stays for so long after its last write. contents_s: as `keep_s`, for contents; None: the
    same. Contents that were erased are deleted from the table.
    """
    if not folder.is_dir():
        return Compaction(reason="there is no log yet")
    with _compaction_lock(folder) as mine:
        if not mine:
            return Compaction(reason="another process is compacting this log")
        now = clock.now()  # one time for all kinds: labels are deleted with their predictions or later
        keep = dict.fromkeys(COLUMNS, keep_s) | {KIND: keep_s if contents_s is None else contents_s}
        erased = erasures(folder)
        done = [
            _compact(folder, kind, clock, now, grace_s, keep[kind], erased if kind == KIND else []) for kind in COLUMNS
        ]
        forget_finished(folder, erased, segments(folder, KIND))
    return Compaction(
        segments=sum(one.segments for one in done),
        rows=sum(one.rows for one in done),
        files_removed=sum(one.files_removed for one in done),
        rows_dropped=sum(one.rows_dropped for one in done),
        damaged=sum(one.damaged for one in done),
        reason="; ".join(one.reason for one in done if one.reason),
    )


def _compact(
    folder: Path,
    kind: str,
    clock: Clock,
    now: datetime,
    grace_s: float,
    keep_s: float,
    erased: Sequence[Erasure],
) -> Compaction:
    archive, damages = Archive(folder, kind), Damages()
    archive.refresh()
    archive.sync()  # the process that made the newest commit may have died before it did so
    _end_abandoned(folder, kind, clock)
    moved = rows = files = 0
    for writer, own in groupby(segments(folder, kind), key=lambda segment: segment.writer):
        ended = _ended(list(own))
        for segment in ended:
            if segment.number > archive.last(writer) and segment.number > _gone(folder, kind, writer):
                count = _move(segment, kind, archive, damages)
                moved, rows = moved + bool(count), rows + count
        files += _remove(folder, kind, ended, now.timestamp() - grace_s, archive.version)
    if erased:
        archive.keep_only(lambda rows: left(rows, erased), ERASED_BY)
    archive.merge_days(now.date())
    dropped = archive.delete_before((now - timedelta(seconds=keep_s)).date())
    return Compaction(
        segments=moved,
        rows=rows,
        files_removed=files,
        rows_dropped=dropped,
        damaged=len(damages),
        reason=f"{kind}: {moved} segments moved, {files} files removed, {dropped} rows deleted"
        if kind in ("predictions", "labels") or moved or files or dropped
        else "",
    )


def _move(segment: Segment, kind: str, archive: Archive, damages: Damages) -> int:
    """Put a segment's rows into the table; return how many."""
    appends, table_of = scan(segment.path, kind, damages), format_of(segment.path).table_of
    parts, ends = [], []
    while some := list(islice(appends, BLOCK_ROWS)):  # rows take more memory as frames than as a table
        parts.append(table_of([append.body for append in some], kind))
        ends.append(np.repeat([append.end for append in some], [append.rows for append in some]))
    if not parts:
        return 0
    rows = pa.concat_tables(parts)
    archive.append(segment.writer, segment.number, rows, np.concatenate(ends))
    return int(rows.num_rows)


def _remove(folder: Path, kind: str, ended: list[Segment], before: float, version: int | None) -> int:
    """Remove the files of segments last written before a time, the oldest first; return how many.

    version: of the table that has their rows.
    """
    count = 0
    for segment in ended:
        if segment.path.stat().st_mtime > before:
            break  # readers expect all files behind one that is there
        if segment.number > _gone(folder, kind, segment.writer):
            _note_removed(folder, kind, segment, version)
        if kind != KIND and _has_damage(segment, kind):  # what is left of text is not kept beyond its time
            segment.path.rename(segment.path.with_name(segment.path.name + SET_ASIDE))
        else:
            segment.path.unlink()
        count += 1
    return count


def _has_damage(segment: Segment, kind: str) -> bool:
    found = Damages(quiet=True)
    for _ in scan(segment.path, kind, found):
        pass
    return len(found) > 0


def _note_removed(folder: Path, kind: str, segment: Segment, version: int | None) -> None:
    """Let readers take the rows of a segment, and of those before it, from the table from now on."""
    found = removed(folder)
    found.setdefault(kind, {})[segment.writer] = segment.number
    tables = found.setdefault(TABLES, {})
    tables[kind] = max(tables.get(kind, NO_TABLE), NO_TABLE if version is None else version)
    path = folder / f"{REMOVED}.new"
    with path.open("wb") as file:
        file.write(msgspec.json.encode(found))
        file.flush()
        os.fsync(file.fileno())
    path.replace(folder / REMOVED)
    sync_folder(folder)


def _gone(folder: Path, kind: str, writer: str) -> int:
    return removed(folder).get(kind, {}).get(writer, 0)


def _ended(own: list[Segment]) -> list[Segment]:
    """Return the segments of one writer that are not written any more."""
    return own if _is_marked(own[-1].path) else own[:-1]


def _is_marked(path: Path) -> bool:
    end = format_of(path).end
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - len(end), 0))
        return file.read() == end


def _end_abandoned(folder: Path, kind: str, clock: Clock) -> None:
    for writer, own in groupby(segments(folder, kind), key=lambda segment: segment.writer):
        last = list(own)[-1]
        if not last.path.stat().st_size or _is_marked(last.path):
            continue
        lock = WriterLock(folder, writer, clock)
        if not lock.try_acquire():
            continue
        try:
            segment_path(folder, kind, writer, next_number(folder, kind, writer)).touch(exist_ok=False)
        finally:
            lock.release()


@contextmanager
def _compaction_lock(folder: Path) -> Iterator[bool]:
    """Hold the lock of compaction; yield False if another process holds it. The system releases it on death."""
    try:
        with (folder / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True
    except OSError as error:
        raise StoreError(f"{folder}: cannot compact the prediction log: {error}") from error
