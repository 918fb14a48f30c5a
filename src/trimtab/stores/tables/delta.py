"""Versioned tables as Delta Lake tables in a local folder, through delta-rs.

Each append is one commit. It contains a Delta application transaction: the batch id with the number of the
version that the commit makes. So rows and batch id become visible together, a lookup needs no scan of the
history, and a writer that ended before its commit has left only files that no version names. The state of an append
is in its commit in the same way: as metadata, with a transaction that holds the number of the commit.
Writers on one machine use a lock file. Writers on other machines are detected by Delta's rule that a version is
written once: a writer whose commit fails reads the table again and tries the next number.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from trimtab.errors import Conflict, DataError, NotFound, StoreError, nearest
from trimtab.stores.faults import Fault
from trimtab.stores.tables.contract import ANY_STATE, Compacted, Tables, Vacuumed
from trimtab.stores.tables.delta_files import compact, compacted, files_of, readable_versions, vacuum
from trimtab.stores.tables.schema_fit import empty_columns, fit, widened

CONFIGURATION = {
    "delta.checkpointInterval": "20",  # opening reads one checkpoint and at most 20 small files
    "delta.enableExpiredLogCleanup": "false",  # old versions stay readable
    # checkpoints do not list the files that compactions replaced: a stream would have thousands; the log has them
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
}

ATTEMPTS = 50
"""Attempts of an append. An attempt fails when a writer on another machine has committed in between."""

STATE = "trimtab.state"
"""Key of a state in the metadata of its commit, and id of the application transaction that names that commit."""

_NAME = re.compile(r"\w[\w-]*")


class DeltaTables:
    """Delta Lake tables, one folder each; safe to share between threads and processes."""

    def __init__(self, root: Path) -> None:
        """Open a folder of tables; it is made when missing."""
        self._root = root
        self._locks = root / ".locks"
        self._locks.mkdir(parents=True, exist_ok=True)

    def append(
        self,
        name: str,
        data: pa.Table,
        *,
        batch: str,
        add_columns: bool = False,
        state: str | None = None,
        after: str | None = ANY_STATE,
    ) -> int:
        """Append rows as one new version and return it; a batch that the table has already adds nothing."""

        def fitting(table: DeltaTable | None) -> tuple[pa.Table, bool]:
            schema = _arrow_schema(table) if table else None
            empty = frozenset[str]() if schema is None or _same(schema, data.schema) else empty_columns(self.scan(name))
            rows = fit(name, data, schema, add_columns=add_columns, empty=empty)
            if schema is None or _same(schema, rows.schema):
                return rows, False
            return self._with_wider_columns(name, rows, schema), True

        return self._commit(name, batch, fitting, merge=add_columns, state=state, after=after)

    def replace(self, name: str, data: pa.Table, *, batch: str) -> int:
        """Make `data` all the rows of a table in one new version and return it; its columns may be others."""
        rows = fit(name, data, None, add_columns=False)
        return self._commit(name, batch, lambda table: (rows, table is not None), merge=False)

    def _commit(
        self,
        name: str,
        batch: str,
        content: Callable[[DeltaTable | None], tuple[pa.Table, bool]],
        *,
        merge: bool,
        state: str | None = None,
        after: str | None = ANY_STATE,
    ) -> int:
        """Write one version with the id `batch`, unless the table has it, and return its number.

        content: takes the table, or None; returns the rows to write, and True when they replace all rows. merge:
        appended rows may have other columns.
        """
        self._check_name(name)
        with self._turn(name):
            for _ in range(ATTEMPTS):
                table = self._open(name)
                known = table.transaction_version(batch) if table else None
                if known is not None:
                    return known
                if after not in (ANY_STATE, self._state_of(name, table)):
                    raise Conflict(f"table '{name}': other rows were appended after the state that these come after")
                version = table.version() + 1 if table else 0
                rows, are_all = content(table)
                rows = rows.combine_chunks()  # delta-rs would write several chunks in parallel, in any order
                properties = CommitProperties(
                    app_transactions=[
                        Transaction(each, version)
                        for each in (*([batch] if after == ANY_STATE else []), *([] if state is None else [STATE]))
                    ],
                    custom_metadata=None if state is None else {STATE: state},
                    max_commit_retries=0,  # because the transaction must hold the number that the commit gets
                )
                try:
                    write_deltalake(
                        table or self._root / name,
                        rows,
                        mode="overwrite" if are_all else "append",
                        schema_mode="overwrite" if are_all else "merge" if table and merge else None,
                        configuration=None if table else CONFIGURATION,
                        commit_properties=properties,
                    )
                except Exception as error:  # delta-rs raises DeltaError and bare Exception
                    if self.version(name) == (version - 1 if table else None):
                        raise StoreError(f"table '{name}': append of batch {batch} failed: {error}") from error
                    continue
                self._sync(name, version)
                return version
        raise Conflict(f"table '{name}': other writers committed first {ATTEMPTS} times; try again later")

    def _with_wider_columns(self, name: str, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Return the rows of a table followed by new ones, with the columns of both in their wider types."""
        new = {field.name: field.type for field in rows.schema}
        target = pa.schema([(field.name, new.get(field.name, field.type)) for field in schema])
        before = self.scan(name).collect().to_arrow().cast(schema)
        return pa.concat_tables([widened(name, before, target), rows], promote_options="default")

    def batch_version(self, name: str, batch: str) -> int | None:
        """Return the version that holds `batch`, or None."""
        table = self._open(name)
        return table.transaction_version(batch) if table else None

    def state(self, name: str) -> str | None:
        """Return the state of the newest append that was given one, or None."""
        return self._state_of(name, self._open(name))

    def _state_of(self, name: str, table: DeltaTable | None) -> str | None:
        version = table.transaction_version(STATE) if table else None
        if version is None:
            return None
        log = _log_entry(self._root / name, version)
        try:
            actions = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            return next(str(action["commitInfo"][STATE]) for action in actions if "commitInfo" in action)
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise StoreError(f"table '{name}': its state, in {log}, cannot be read: {error!r}") from error

    def scan(self, name: str, *, version: int | None = None) -> pl.LazyFrame:
        """Return the rows of one version (None: the newest), lazily. Raises NotFound."""
        table = self._existing(name, version)
        # in the order of writing; Polars' own reader of Delta tables takes the newest file first
        files = [self._root / name / unquote(file.path) for file in files_of(table)]
        columns = _columns(table)
        if version is not None and table.version() < (self.version(name) or 0) and not all(map(Path.is_file, files)):
            raise NotFound(
                f"table '{name}': the files of version {version} were removed by a vacuum, or are lost; trimtab tables "
                f"show {name} lists the versions that can be read"
            )
        if not files:
            return pl.LazyFrame(schema=columns)
        return pl.scan_parquet(files, schema=columns, missing_columns="insert", glob=False)

    def schema(self, name: str, *, version: int | None = None) -> dict[str, str] | None:
        """Return column -> Arrow type of one version (None: the newest), or None without such a table."""
        table = self._open(name, version)
        return {field.name: str(field.type) for field in _arrow_schema(table)} if table else None

    def version(self, name: str) -> int | None:
        """Return the newest version, or None when there is no such table."""
        table = self._open(name)
        return table.version() if table else None

    def compact(self, name: str, *, now: datetime, least: int = 2) -> Compacted:
        """Merge neighbouring small files, as a new version of the same rows in the same order. Raises NotFound."""
        with self._turn(name):
            for _ in range(ATTEMPTS):
                table = self._existing(name)
                done = compact(self._root / name, table, _columns(table), least=least, now=now)
                if done is not None:
                    return done
        raise Conflict(f"table '{name}': other writers committed first {ATTEMPTS} times; try again later")

    def vacuum(self, name: str, *, keep: Collection[int], since: datetime) -> Vacuumed:
        """Remove the files that only versions have which need not be kept. Raises NotFound."""
        self._existing(name)
        with self._turn(name):
            return vacuum(self._root / name, keep=keep, since=since)

    def readable(self, name: str) -> Sequence[int]:
        """Return the versions that no vacuum has removed, in order. Raises NotFound."""
        self._existing(name)
        return readable_versions(self._root / name)

    def check(self) -> Sequence[Fault]:
        """Look for log entries and data files that are missing or have another size."""
        folders = (path for path in self._root.iterdir() if path.is_dir() and not path.name.startswith("."))
        return [
            Fault(
                text=f"table '{folder.name}': {wrong}",
                remedy="restore the folder from a backup, or: trimtab repair, then trimtab ingest, which takes the "
                "source's files in again",
                aside=(folder,),
                again="trimtab ingest",
            )
            for folder in sorted(folders)
            if (wrong := _wrong_with(folder))
        ]

    def names(self) -> Sequence[str]:
        """Return the names of all tables, sorted."""
        return sorted(log.parent.name for log in self._root.glob("*/_delta_log") if any(log.glob("*.json")))

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise DataError(f"'{name}' is no name for a table: expected letters, digits, '_' and '-'")

    def _open(self, name: str, version: int | None = None) -> DeltaTable | None:
        self._check_name(name)
        folder = self._root / name
        if not (folder / "_delta_log").is_dir():
            return None
        try:
            return DeltaTable(folder, version=None if version is None else compacted(folder, version))
        except TableNotFoundError:
            return None
        except DeltaError as error:
            newest = self.version(name) if version is not None else None
            if newest is not None and version is not None and not 0 <= version <= newest:
                raise NotFound(
                    f"table '{name}' has no version {version}; expected 0 to {newest}. If it had one, "
                    "trimtab ingest reads the source's file again"
                ) from None
            raise StoreError(f"table '{name}' cannot be read: {error}") from error

    def _existing(self, name: str, version: int | None = None) -> DeltaTable:
        table = self._open(name, version)
        if table is None:
            raise NotFound(f"there is no table '{name}'.{nearest(name, self.names())}")
        return table

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """Hold the table's lock. The system releases it when the process ends."""
        with (self._locks / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _sync(self, name: str, version: int) -> None:
        """Sync a commit and its data files to disk, which delta-rs does not do."""
        folder = self._root / name
        log = _log_entry(folder, version)
        actions = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        added = [folder / unquote(action["add"]["path"]) for action in actions if "add" in action]
        for path in (*added, folder, log, log.parent, self._root):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _log_entry(folder: Path, version: int) -> Path:
    return folder / "_delta_log" / f"{version:020}.json"


def _same(table: pa.Schema, batch: pa.Schema) -> bool:
    """Return True if no column of a table has another type in a batch."""
    return all(table.field(field.name).type == field.type for field in batch if field.name in table.names)


def _wrong_with(folder: Path) -> str | None:
    """Return a description of the first fault in the log or the files of a table, or None."""
    numbers = {int(path.stem) for path in (folder / "_delta_log").glob("*.json") if path.stem.isdigit()}
    gone = sorted(set(range(max(numbers, default=0) + 1)) - numbers)
    if gone:
        return f"entry {gone[0]} of its log is gone ({folder / '_delta_log'})"
    try:
        actions = pl.DataFrame(DeltaTable(folder).get_add_actions(flatten=True))
    except DeltaError as error:
        return f"its log cannot be read: {error}"
    for path, size in zip(actions["path"], actions["size_bytes"], strict=True):
        file = folder / unquote(path)
        if not file.is_file():
            return f"{file} is gone"
        if file.stat().st_size != size:
            return f"{file} has {file.stat().st_size:,} bytes instead of {size:,}"
    return None


def _columns(table: DeltaTable) -> pl.Schema:
    return pl.DataFrame(_arrow_schema(table).empty_table()).schema


def _arrow_schema(table: DeltaTable) -> pa.Schema:
    return pa.schema(table.schema().to_arrow())


_: type[Tables] = DeltaTables
