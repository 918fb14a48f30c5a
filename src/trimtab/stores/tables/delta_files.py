"""Merges small files of a Delta table, and removes files that no kept version has.

A compaction is one commit that changes no row: it replaces neighbouring small files by one that has their rows in the
same order. The commit is written here, because an optimization by delta-rs would not keep that order. Earlier versions
keep their files until a vacuum removes those that only versions have which need not be kept.
"""

from __future__ import annotations

import bisect
import json
import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

from trimtab.clock import to_micros
from trimtab.stores.tables.contract import Compacted, Vacuumed

SMALL = 16 * 2**20
"""Bytes below which a file is merged with its neighbours."""
TARGET = 128 * 2**20
"""Bytes of a merged file, about."""
LOG = "_delta_log"
ENGINE = "trimtab-compaction"
"""`engineInfo` of the commits of compactions. Those of other engines may have changed the order of rows."""


@dataclass(frozen=True)
class DataFile:
    """One data file of a version."""

    path: str
    """As the log has it."""
    bytes_: int
    modified: int
    """Milliseconds since 1970; files are in the order of these, which is that of writing."""
    rows: int


def files_of(table: DeltaTable) -> list[DataFile]:
    """Return the files of a version in the order of writing."""
    actions = pl.DataFrame(table.get_add_actions(flatten=True)).sort("modification_time", "path")
    columns = actions.select("path", "size_bytes", "modification_time", "num_records")
    return [DataFile(path, size, time, rows or 0) for path, size, time, rows in columns.iter_rows()]


def compact(folder: Path, table: DeltaTable, columns: pl.Schema, *, least: int, now: datetime) -> Compacted | None:
    """Merge neighbouring small files in one commit; None when another writer committed first.

    folder: of the table. columns: of the version. least: fewest neighbouring small files that are merged. now: time of
    the commit.
    """
    before = files_of(table)
    groups = [group for group in _groups(before) if len(group) >= least]
    if not groups:
        return Compacted(len(before), len(before), None)
    added = [_merged(folder, group, columns) for group in groups]
    version = table.version() + 1
    if not _commit(folder, version, removed=[file for group in groups for file in group], added=added, now=now):
        for file in added:
            (folder / file.path).unlink()
        return None
    if (version + 1) % 20 == 0:  # delta-rs writes a checkpoint with its own commits alone
        DeltaTable(folder).create_checkpoint()
    return Compacted(len(before), len(before) - sum(map(len, groups)) + len(added), version)


def vacuum(folder: Path, *, keep: Collection[int], since: datetime) -> Vacuumed:
    """Remove the files that no kept version has.

    Kept are the newest version, those in `keep` or the compactions of them, and each that was the newest at `since` or
    later. A file that no version has, such as that of a writer which died, is removed if it was written before `since`.
    """
    limit = to_micros(since) // 1000
    spans, times = _history(folder)
    newest = len(times) - 1
    recent = [version for version in range(newest) if times[version + 1] >= limit]
    kept = sorted({*recent, newest, *(compacted(folder, v) for v in keep if 0 <= v <= newest)})
    files, size = 0, 0
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(LOG):
            continue
        span = spans.get(name)
        if span is None:
            gone = path.stat().st_mtime * 1000 < limit
        else:
            first, end = span
            place = bisect.bisect_left(kept, first)
            gone = place == len(kept) or (end is not None and kept[place] >= end)
        if gone:
            files, size = files + 1, size + path.stat().st_size
            path.unlink()
    return Vacuumed(files, size)


def readable_versions(folder: Path) -> list[int]:
    """Return the versions whose files, or those of their compactions, are all there, in order."""
    spans, times = _history(folder)
    lost = [(first, end) for path, (first, end) in spans.items() if not (folder / path).is_file()]
    found = []
    for version in range(len(times)):
        v = compacted(folder, version)
        if not any(first <= v and (end is None or v < end) for first, end in lost):
            found.append(version)
    return found


def compacted(folder: Path, version: int) -> int:
    """Return the last compaction of a version, which has the same rows in fewer files, or the version itself."""
    while (log := folder / LOG / f"{version + 1:020}.json").is_file():
        with log.open(encoding="utf-8") as lines:
            first = json.loads(lines.readline() or "{}")
        if first.get("commitInfo", {}).get("engineInfo") != ENGINE:
            break
        version += 1
    return version


def _groups(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Yield runs of small neighbours. Files of the same millisecond stay together: only times say what comes first."""
    run: list[DataFile] = []
    for _, tied in groupby(files, lambda file: file.modified):
        together = list(tied)
        small = all(file.bytes_ < SMALL for file in together)
        if not small or sum(file.bytes_ for file in run) >= TARGET:
            yield run
            run = []
        if small:
            run += together
    yield run


def _merged(folder: Path, group: Sequence[DataFile], columns: pl.Schema) -> DataFile:
    """Write the rows of several files into one and return it; it takes the place of the first."""
    path = folder / f"part-00000-{uuid.uuid4()}-c000.zstd.parquet"
    rows = pl.scan_parquet(
        [folder / unquote(file.path) for file in group], schema=columns, missing_columns="insert", glob=False
    )
    rows.sink_parquet(path, maintain_order=True)
    _sync(path)
    return DataFile(path.name, path.stat().st_size, group[0].modified, sum(file.rows for file in group))


def _commit(
    folder: Path, version: int, *, removed: Sequence[DataFile], added: Sequence[DataFile], now: datetime
) -> bool:
    """Write one commit of the Delta protocol; False when the version is there already."""
    time = to_micros(now) // 1000
    lines: list[dict[str, object]] = [
        {
            "commitInfo": {
                "timestamp": time,
                "operation": "OPTIMIZE",
                "operationParameters": {},
                "engineInfo": ENGINE,
            }
        }
    ]
    lines += [
        {
            "remove": {
                "path": file.path,
                "deletionTimestamp": time,
                "dataChange": False,
                "extendedFileMetadata": True,
                "partitionValues": {},
                "size": file.bytes_,
            }
        }
        for file in removed
    ]
    lines += [
        {
            "add": {
                "path": file.path,
                "partitionValues": {},
                "size": file.bytes_,
                "modificationTime": file.modified,
                "dataChange": False,
                "stats": json.dumps({"numRecords": file.rows}),
            }
        }
        for file in added
    ]
    log = folder / LOG
    draft = log / f".{uuid.uuid4()}.tmp"
    draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    _sync(draft)
    try:
        os.link(draft, log / f"{version:020}.json")  # fails if the name is taken, as the protocol asks
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _sync(folder)
    _sync(log)
    return True


def _history(folder: Path) -> tuple[dict[str, tuple[int, int | None]], list[int]]:
    """Return for each file the first version that has it and the first later one that has not; and each commit's time.

    Times are milliseconds since 1970.
    """
    spans: dict[str, tuple[int, int | None]] = {}
    times: list[int] = []
    for version, path in enumerate(sorted(file for file in (folder / LOG).glob("*.json") if file.stem.isdigit())):
        time = times[-1] if times else 0
        for line in path.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            if "add" in action:
                spans.setdefault(unquote(action["add"]["path"]), (version, None))
            elif "remove" in action:
                name = unquote(action["remove"]["path"])
                spans[name] = (spans.get(name, (0, None))[0], version)
            elif "commitInfo" in action:
                time = max(time, int(action["commitInfo"].get("timestamp", 0)))
        times.append(time)
    return spans, times


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
