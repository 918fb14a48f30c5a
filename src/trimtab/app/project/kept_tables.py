"""Versions of tables: which was the newest at a time, which must be kept, and the upkeep of their files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.clock import parse_time
from trimtab.errors import NotFound, UsageError, nearest
from trimtab.records.data import CheckReport, TableVersion
from trimtab.records.monitoring import LabelIntake
from trimtab.records.training import DatasetVersion
from trimtab.units import plural

MANY = 8
"""Neighbouring small files that a running loop merges; a command merges any two."""


class TableUpkeep(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction or a vacuum did to one table."""

    table: str
    files: int
    """Files that were merged, less those that they became; or that were removed."""
    bytes_: int = 0
    """Of the removed files."""
    version: int | None = None
    """The version that a compaction made."""

    @property
    def reason(self) -> str:
        """What was done, in words."""
        if self.version is not None:
            return f"{self.table}@{self.version}: {plural(self.files, 'file')} fewer, the same rows"
        return f"{self.table}: {plural(self.files, 'file')} removed, {self.bytes_:,} bytes"


def version_as_of(workspace: Workspace, table: str, as_of: str | None) -> TableVersion:
    """Return the version of a table that `as_of` names.

    as_of: a version such as 3 or flights@3; a time, for the version that was the newest then; None for the newest.
    Raises UsageError for other texts, NotFound when there is no such version.
    """
    versions = sorted(workspace.metadata.find(TableVersion, table=table), key=lambda version: version.version)
    if not versions:
        raise NotFound(f"table '{table}' is empty; run: trimtab ingest {table}")
    if as_of is None:
        return versions[-1]
    number = as_of.removeprefix(f"{table}@")
    if number.isdigit():
        found = next((version for version in versions if version.version == int(number)), None)
        if found is None:
            known = f"{versions[0].version} to {versions[-1].version}"
            raise NotFound(f"--as-of: table '{table}' has no ingested version {number}; expected one of {known}")
        return found
    try:
        time = parse_time(as_of)
    except ValueError:
        ids = [version.id for version in versions]
        raise UsageError(
            f"--as-of: '{as_of}' is neither a time such as 2026-03-01 or 2026-03-01T05:00Z nor a version such as "
            f"{table}@{versions[-1].version}.{nearest(as_of, ids)}"
        ) from None
    before = [version for version in versions if version.created_at <= time]
    if not before:
        first = f"{versions[0].created_at:%Y-%m-%d %H:%M} UTC"
        raise NotFound(f"--as-of: table '{table}' had no version at {time:%Y-%m-%d %H:%M} UTC; its first is of {first}")
    return before[-1]


def tables_as_of(workspace: Workspace, names: Sequence[str], version: str) -> tuple[dict[str, TableVersion], datetime]:
    """Return the versions of tables when one version such as flights@3 was the newest, and when that was made.

    Raises as `version_as_of`, and UsageError when the version is of none of the tables.
    """
    table = version.partition("@")[0]
    if table not in names:
        raise UsageError(f"--as-of {version}: no training set is made of '{table}'.{nearest(table, names)}")
    time = version_as_of(workspace, table, version).created_at
    found = {name: version_as_of(workspace, name, time.isoformat()) for name in names if name != table}
    return {table: version_as_of(workspace, table, version), **found}, time


def held(workspace: Workspace, table: str) -> bool:
    """Return True if the policy holds all versions of a table."""
    return table in workspace.project.policy.tables.hold


def named_versions(workspace: Workspace, table: str) -> dict[int, str]:
    """Return the versions of a table that may not be removed, with what names them."""
    found: dict[int, str] = {}
    for dataset in workspace.metadata.find(DatasetVersion):
        if id_ := dataset.tables.get(table):
            found[_number(id_)] = f"training set {dataset.id[:12]}"
    for report in workspace.metadata.find(CheckReport, table=table):
        if report.source.startswith(f"{table}@"):
            found.setdefault(_number(report.source), "a check report")
    for intake in workspace.metadata.find(LabelIntake, table=table):
        found.setdefault(intake.version, f"labels of model {intake.model}")
    for id_ in workspace.project.policy.tables.hold:
        if id_.startswith(f"{table}@") and id_.rpartition("@")[2].isdigit():
            found[_number(id_)] = "tables.hold of the policy"
    return found


def compact_tables(workspace: Workspace, names: Sequence[str], *, least: int = 2) -> list[TableUpkeep]:
    """Merge neighbouring small files of tables; return what was done to those that had any."""
    done = []
    for name in names:
        result = workspace.tables.compact(name, now=workspace.now(), least=least)
        if result.version is not None:
            files = result.files_before - result.files_after
            done.append(TableUpkeep(table=name, files=files, version=result.version))
    return done


def vacuum_tables(workspace: Workspace, names: Sequence[str], *, keep: timedelta) -> list[TableUpkeep]:
    """Remove files of versions that were not the newest within `keep` and that no record or hold names."""
    done = []
    for name in names:
        if held(workspace, name):
            continue
        named = named_versions(workspace, name)
        result = workspace.tables.vacuum(name, keep=list(named), since=workspace.now() - keep)
        done.append(TableUpkeep(table=name, files=result.files, bytes_=result.bytes_))
    return done


def chosen_tables(workspace: Workspace, name: str | None) -> Sequence[str]:
    """Return one table by name, or all. Raises NotFound with the nearest name."""
    names = workspace.tables.names()
    if name is not None and name not in names:
        raise NotFound(f"there is no table '{name}'.{nearest(name, names)}")
    return names if name is None else [name]


def _number(id_: str) -> int:
    return int(id_.rpartition("@")[2])
