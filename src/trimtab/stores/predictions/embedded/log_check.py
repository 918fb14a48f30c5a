"""Finds segments and table files of the embedded log that are missing, and damage in those that are there."""

from __future__ import annotations

from pathlib import Path

from trimtab.errors import StoreError
from trimtab.stores.faults import Fault
from trimtab.stores.predictions.contract import COLUMNS
from trimtab.stores.predictions.embedded.delta_archive import Archive
from trimtab.stores.predictions.embedded.segment_folder import NO_TABLE, TABLES, Segment, last_begun, removed, segments
from trimtab.stores.predictions.embedded.segment_scan import Damages, scan

RESTORE = "restore it from a backup; without one the rows are lost, and the log works without them"


def check(folder: Path) -> list[Fault]:
    """Return the faults of a log."""
    found: list[Fault] = []
    try:
        for kind in COLUMNS:
            found += _files(folder, kind)
            found += _table(folder, kind)
    except StoreError as error:
        found.append(Fault(text=str(error), remedy=RESTORE))
    return found


def _files(folder: Path, kind: str) -> list[Fault]:
    """Look for gaps in the numbers between removed.json and the last segment that each writer noted, and for damage."""
    found: list[Fault] = []
    last, own = last_begun(folder, kind), dict[str, list[Segment]]()  # the segment is there before it is noted
    for segment in segments(folder, kind):
        own.setdefault(segment.writer, []).append(segment)
    gone = removed(folder).get(kind, {})
    for writer in sorted({*own, *last}):
        files = [segment for segment in own.get(writer, []) if segment.number > gone.get(writer, 0)]
        there = {segment.number for segment in files}
        for number in range(gone.get(writer, 0) + 1, max([*there, last.get(writer, 0)]) + 1):
            if number not in there:
                text = f"prediction log: segment {number} of the {kind} of writer '{writer}' is gone ({folder})"
                found.append(Fault(text=text, remedy=RESTORE, verdict="warn"))
        for segment in files:
            damages = Damages(quiet=True)
            for _ in scan(segment.path, kind, damages):
                pass
            if len(damages):
                text = f"{segment.path}: {len(damages)} damaged stretches, whose rows are left out"
                found.append(Fault(text=text, remedy=RESTORE, verdict="warn"))
    return found


def _table(folder: Path, kind: str) -> list[Fault]:
    """Look for a table that is gone or older than removed.json says, and for its files that are gone."""
    gone = removed(folder)
    noted = gone.get(TABLES, {}).get(kind)
    archive = Archive(folder, kind)
    archive.refresh()
    if archive.version is None and gone.get(kind) and noted != NO_TABLE:
        text = f"prediction log: the table {archive.folder} is gone, with the {kind} of segments that had moved into it"
        return [Fault(text=text, remedy=RESTORE)]
    if archive.version is not None and noted is not None and archive.version < noted:
        text = f"prediction log: the table {archive.folder} ends at version {archive.version}, but had version {noted}"
        return [Fault(text=text, remedy=RESTORE)]
    lost = [file.path for file in archive.files if not file.path.is_file()]
    return [Fault(text=f"prediction log: {path} is gone, with its rows", remedy=RESTORE) for path in lost]
