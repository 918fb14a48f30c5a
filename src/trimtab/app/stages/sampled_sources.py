"""Rows of one stretch of event time instead of all rows of the sources, for pipelines that must not take long.

A stretch of time is taken rather than random rows, because windows of features need the rows around them. Every source
goes back as far as the windows over it need; one that features read without end, or that checks refer to, is taken
whole. The examples of training sets begin with the stretch, as the rows before it are there for windows alone. A table
that holds a sample takes no other rows: a part of the rows never becomes all of them by mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from trimtab.app.project.project import late_sources
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.ingesting import chosen_sources, intake_of, pull_all, referenced_first
from trimtab.clock import from_micros
from trimtab.data.batch import read_content
from trimtab.data.connectors.contract import Pull
from trimtab.data.connectors.pulling import take
from trimtab.data.ingest import SAMPLE, Ingested
from trimtab.data.source_files import find_files, has_files
from trimtab.definitions.sources import FileSource, Source
from trimtab.definitions.views import FeatureView
from trimtab.errors import DataError, UsageError
from trimtab.features.table_columns import NEVER, micros
from trimtab.features.view_windows import longest_window
from trimtab.records.data import TableVersion
from trimtab.stores.metadata.contract import latest
from trimtab.units import MICROS

START = "from %Y-%m-%d %H:%M UTC"


class FileRows:
    """The rows of a file source, read file by file from the last name to the first, as far back as is needed."""

    def __init__(self, workspace: Workspace, source: FileSource) -> None:
        self.source = source
        self._intake = intake_of(workspace, source)
        self._files = list(find_files(source, workspace.project.folder))
        self._parts: list[pl.DataFrame] = []
        self.files = len(self._files)
        self.read = 0
        """How many of the files have been read."""

    def more(self) -> bool:
        """Read one more file; return False when all are read. Raises DataError."""
        if not self._files:
            return False
        _, content = read_content(self._intake, self._files.pop(), like=None)
        self._parts.insert(0, pl.DataFrame(content.rows))
        self.read += 1
        return True

    def frame(self) -> pl.DataFrame:
        """Return the rows of all files that were read, in order of name."""
        return pl.concat(self._parts, how="diagonal_relaxed") if self._parts else pl.DataFrame()

    def back_to(self, start: int | None) -> pl.DataFrame:
        """Read until a file begins before `start` (microseconds), or all; None: all. Return all rows so far."""
        source = self.source
        while (not self._parts or start is None or oldest(self._parts[0], source) >= start) and self.more():
            pass
        return self.frame()


@dataclass(frozen=True, kw_only=True)
class Need:
    """How far the features over a source look back: `whole`, or by `micros`."""

    micros: int = 0
    whole: bool = False


def needs(workspace: Workspace) -> dict[str, Need]:
    """Return by source how far back features and checks need its rows before the time that they are for."""
    definitions, found = workspace.project.definitions, dict[str, Need]()
    for view in definitions.views.values():
        length = _reach(view)
        before = found.get(view.source.name, Need())
        found[view.source.name] = Need(micros=max(before.micros, length or 0), whole=before.whole or length is None)
    for checks in workspace.project.policy.checks.tables.values():
        for reference in checks.references.values():
            found[reference.source] = Need(whole=True)
    return {name: found.get(name, Need()) for name in definitions.sources}


def _reach(view: FeatureView) -> int | None:
    """Return the time before which no row counts for a view, None without such a time."""
    own = longest_window(view)
    inner = 0 if view.over is None else _reach(view.over)
    return None if own is None or inner is None else own + inner + (view.every_micros or 0)


def cut(frame: pl.DataFrame, source: Source, *, start: int | None, end: int | None = None) -> pl.DataFrame:
    """Return the rows of a source from `start` to `end`, both included, in microseconds; None: no bound."""
    at = pl.Series(event_times(frame, source))
    kept = at != NEVER
    if start is not None:
        kept &= at >= start
    if end is not None:
        kept &= at <= end
    return frame.filter(kept)


def event_times(frame: pl.DataFrame, source: Source) -> pl.Series:
    """Return the event times of rows of a source, int64 microseconds. Raises DataError without the column."""
    if source.timestamp not in frame.columns:
        raise DataError(f"{source.where}: its rows have no column '{source.timestamp}'")
    return pl.Series(micros(frame[source.timestamp], where=source.where))


def oldest(frame: pl.DataFrame, source: Source) -> int:
    """Return the earliest event time of rows, NEVER without one."""
    first = event_times(frame, source).min()
    return NEVER if first is None else int(first)  # type: ignore[arg-type]  # of an int64 column


def take_sample(workspace: Workspace, source: Source, frame: pl.DataFrame, label: str) -> Ingested | None:
    """Check rows and take them into the empty table of a source, marked as a sample; None when none passes.

    Raises as an ingest does.
    """
    return take(intake_of(workspace, source), Pull(frame, state=f"{SAMPLE}{label}", label=label), since=None)


def ingest_last(workspace: Workspace, last: int, name: str | None = None, *, rows: int | None = None) -> list[Ingested]:
    """Take the newest stretch of the file sources into empty tables, and new rows of the other sources.

    Args:
        workspace: an open project; the tables of file sources have no rows, or the same sample.
        last: length of the stretch, microseconds; it ends with the newest example of all models.
        name: one source; None: all.
        rows: stop each of the other sources after the pull with which its table has so many; None: at their end.

    Raises:
        UsageError: a table has rows that are no sample, or those of another one; or no model has examples in files.
        DataError: a source has no files. Further errors as of an ingest.
    """
    definitions, folder = workspace.project.definitions, workspace.project.folder
    late, examples = late_sources(definitions), {model.examples.name for model in definitions.models.values()}
    readers = {
        source.name: FileRows(workspace, source)
        for source in definitions.sources.values()
        if isinstance(source, FileSource) and (source.name not in late or has_files(source, folder))
    }
    newest = max((newest_time(readers[each]) for each in examples if each in readers), default=None)
    if newest is None:
        raise UsageError("--last ends with the newest example of a model, and no model has its examples in files")
    start, looks_back = (newest - last) // MICROS["m"] * MICROS["m"], needs(workspace)
    label = from_micros(start).strftime(START)
    done: list[Ingested] = []
    for source in referenced_first(workspace, chosen_sources(workspace, name)):
        if not isinstance(source, FileSource):
            done.extend(pull_all(workspace, source, named=name is not None, rows=rows))
        elif source.name in readers and (known := _known(workspace, source, label)) is not None:
            done.append(known)
        elif source.name in readers:
            need = looks_back[source.name]
            since = None if need.whole else start - need.micros
            frame = cut(readers[source.name].back_to(since), source, start=since)
            taken = take_sample(workspace, source, frame, label)
            done.extend([] if taken is None else [replace(taken, unit="batch")])
    return done


def sample_start(workspace: Workspace, source: Source) -> datetime | None:
    """Return when the stretch of `ingest_last` begins that the table of a source holds; None where it holds none."""
    state = workspace.tables.state(source.name) or ""
    if not state.startswith(f"{SAMPLE}from "):
        return None
    return datetime.strptime(state, f"{SAMPLE}{START}").replace(tzinfo=UTC)


def newest_time(reader: FileRows) -> int:
    """Return the newest event time of the last file. Raises DataError without one."""
    if reader.frame().is_empty():
        reader.more()
    at = event_times(reader.frame(), reader.source)
    newest = at.filter(at != NEVER).max()
    if newest is None:
        raise DataError(
            f"{reader.source.where}: the last of its files has no row with a time in '{reader.source.timestamp}'"
        )
    return int(newest)  # type: ignore[arg-type]  # of an int64 column


def _known(workspace: Workspace, source: Source, label: str) -> Ingested | None:
    """Return what is told of a table that holds the sample already; None of an empty one. Raises UsageError."""
    version = latest(workspace.metadata, TableVersion, table=source.name)
    state = workspace.tables.state(source.name)
    if version is None and state is None:
        return None
    if version is not None and state == f"{SAMPLE}{label}":
        return Ingested(source.name, source.name, 0, 0, version, skipped=f"already in {version.id}", unit="batch")
    raise UsageError(
        f"--last: table '{source.name}' has rows already, and a sample goes into empty tables: open another "
        "environment (--env), or a copy of the project without .trimtab/"
    )
