"""Reads as much of each source as a contract test needs: a stretch of examples, and what the features look back on."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from trimtab.app.delivery.outcomes import Skipped
from trimtab.app.delivery.sample_stretch import LONGER, Stretch, is_good, stretch_of
from trimtab.app.project.project import late_sources
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.ingesting import access, intake_of
from trimtab.app.stages.sampled_sources import FileRows, cut, event_times, needs, newest_time
from trimtab.data.connectors.connector_catalog import open_connector
from trimtab.data.connectors.contract import Unreachable
from trimtab.data.connectors.micro_batches import StreamConnector
from trimtab.data.file_reading import content_of
from trimtab.data.source_files import has_files
from trimtab.definitions.kafka_source import KafkaSource
from trimtab.definitions.models import Model
from trimtab.definitions.push_source import PushSource
from trimtab.definitions.sources import FileSource, Source
from trimtab.features.table_columns import NEVER
from trimtab.units import plural


class SampleReading:
    """The rows of a project's sources, each read once and as far as is asked for.

    workspace: the scratch copy. own: the project with its own stores, which may have rows of streams; None: it has
    none. rows: most labelled examples of a model.
    """

    def __init__(self, workspace: Workspace, own: Workspace | None, rows: int) -> None:
        self._workspace, self._own, self._rows = workspace, own, rows
        self._files: dict[str, FileRows] = {}
        self._others: dict[str, pl.DataFrame] = {}
        self._needs = needs(workspace)
        self._stretches: dict[str, Stretch] = {}

    def stretch(self, model: Model) -> Stretch:
        """Return the stretch of a model's examples. Raises what reading raises, and StageError without labels."""
        if model.name not in self._stretches:
            self._stretches[model.name] = self._chosen(model)
        return self._stretches[model.name]

    def _chosen(self, model: Model) -> Stretch:
        """Choose a stretch that ends before the rows of a view's source do, if it has any such example."""
        most, until = LONGER * self._rows, self._until(model)

        def usable(rows: pl.DataFrame) -> pl.DataFrame:
            return cut(rows, model.examples, start=None, end=until)

        frame = self._read(
            model.examples,
            lambda rows: (own := usable(rows)).height >= most or is_good(model, own, self._rows),
        )
        own = usable(frame)
        return stretch_of(model, frame if own.is_empty() else own, self._rows)

    def _until(self, model: Model) -> int | None:
        """Return the newest time that every source has rows of that features look back on for a while."""
        found = []
        for view in model.views:
            source = view.source
            if source == model.examples or self._needs[source.name].whole:
                continue
            try:
                if isinstance(source, FileSource):
                    found.append(newest_time(self._reader(source)))
                else:
                    found.append(_newest_of(self._other(source), source))
            except Exception:  # told by the checks of that source
                continue
        return min(found, default=None)

    def sample(self, source: Source) -> tuple[pl.DataFrame, str]:
        """Return the rows of a source that the test needs, and what to say of them.

        Raises Skipped where there are none to be had, and what reading raises.
        """
        definitions = self._workspace.project.definitions
        users = [
            model
            for model in definitions.models.values()
            if source in (model.examples, *(view.source for view in model.views))
        ]
        need = self._needs[source.name]
        stretches = [found for model in users if (found := self._known_stretch(model)) is not None]
        if not stretches:
            frame = self._newest(source)
        else:
            start = min(stretch.start for stretch in stretches) - need.micros
            end = max(stretch.end for stretch in stretches)
            frame = self._back_to(source, None if need.whole else start)
            frame = cut(frame, source, start=None if need.whole else start, end=end)
        if frame.is_empty():
            raise Skipped("no rows in the stretch of time that the test looks at")
        at = event_times(frame, source)
        first, last = (pl.Series([value]).cast(pl.Datetime("us")).item() for value in (at.min(), at.max()))
        files = self._files.get(source.name)
        of = "" if files is None else f" of {files.read} of {plural(files.files, 'file')}"
        return frame, f"{plural(frame.height, 'row')}{of}, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"

    def _known_stretch(self, model: Model) -> Stretch | None:
        try:
            return self.stretch(model)
        except Exception:  # told by the checks of the model and of its source
            return None

    def _read(self, source: Source, enough: Callable[[pl.DataFrame], bool]) -> pl.DataFrame:
        """Read a source until its rows are enough, or all of it."""
        if not isinstance(source, FileSource):
            return self._other(source)
        files = self._reader(source)
        while (frame := files.frame()).is_empty() or not enough(frame):
            if not files.more():
                break
        return files.frame()

    def _back_to(self, source: Source, start: int | None) -> pl.DataFrame:
        return self._reader(source).back_to(start) if isinstance(source, FileSource) else self._other(source)

    def _newest(self, source: Source) -> pl.DataFrame:
        """Return the newest rows of a source that no model needs."""
        project = self._workspace.project
        late = source.name in late_sources(project.definitions)
        if late and isinstance(source, FileSource) and not has_files(source, project.folder):
            raise Skipped("no file yet: outcomes come after predictions")
        frame = self._read(source, lambda rows: rows.height >= self._rows)
        at = event_times(frame, source)
        return frame.filter(at != NEVER).tail(self._rows) if frame.height > self._rows else frame

    def _reader(self, source: FileSource) -> FileRows:
        if source.name not in self._files:
            self._files[source.name] = FileRows(self._workspace, source)
        return self._files[source.name]

    def _other(self, source: Source) -> pl.DataFrame:
        if source.name not in self._others:
            own = self._own
            there = own is not None and own.tables.version(source.name) is not None
            self._others[source.name] = self._pulled(source) if own is None or not there else _kept(own, source)
        return self._others[source.name]

    def _pulled(self, source: Source) -> pl.DataFrame:
        """Return the first rows that a source gives. Raises Skipped for a stream, and where it cannot be reached."""
        if isinstance(source, KafkaSource | PushSource):
            raise Skipped("a stream: its rows are tested where the project has taken some, and it has none here")
        connector = open_connector(source, access(self._workspace))
        assert not isinstance(connector, StreamConnector)  # both kinds of streams are above
        parts: list[pl.DataFrame] = []
        keys = intake_of(self._workspace, source).keys
        try:
            for pull in connector.pulls(None):
                content = content_of(pull.frame.to_arrow(), source, place=pull.label, like=None, keys=keys)
                parts.append(pl.DataFrame(content.rows))
                if sum(part.height for part in parts) >= LONGER * self._rows:
                    break
        except Unreachable as error:
            raise Skipped(f"cannot be reached from here: {error}") from None
        if not parts:
            raise Skipped("it has no rows yet")
        return pl.concat(parts, how="diagonal_relaxed")


def _kept(own: Workspace, source: Source) -> pl.DataFrame:
    return own.tables.scan(source.name).collect()


def _newest_of(frame: pl.DataFrame, source: Source) -> int:
    at = event_times(frame, source)
    return int(at.filter(at != NEVER).max())  # type: ignore[arg-type]  # of an int64 column
