"""Computes features that were served again from the tables, and says of every difference where it comes from.

For a sample of logged answers each feature of a view is computed with today's definition from today's tables, as a
training set would. A served value that differs is then looked for in what the tables could give at the request:

changed definition    the definition of the answering version gives it
correction            it is that of the rows before a later row of their key became known
late data             it is that of the rows that the table had at the request
changed table         it is that of the table before all its rows were read again
rounding              it differs by less than float32 can tell in a sum
missing entity        the store had no values of the entity
stale watermark       it is that of the table up to an earlier time, or of an earlier version of the table
unexplained           none of these

All features of a view that differ in a row have one cause: the first that gives all of them.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.served_features import BLOCK_ROWS, differing, served_column, served_matrix
from trimtab.definitions.models import Model
from trimtab.definitions.sources import Source
from trimtab.definitions.views import FeatureView
from trimtab.errors import StageError
from trimtab.features.corrections import current
from trimtab.features.point_in_time import view_values
from trimtab.features.table_columns import encode_keys, key_text, micros, plain_keys, typed_column
from trimtab.features.value_types import Array
from trimtab.features.view_versions import view_of
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.predictions.contract import START

SAMPLE = 10_000
"""Answers that are audited by default."""
EXAMINED = 500
"""Differing rows of each view and version whose cause is looked for; the others count as not examined."""
EARLIER = 20
"""Earlier rows of an entity, and earlier versions of a table, that are tried as the state of a stale store."""
EXAMPLES = 3
"""Examples of each feature and cause."""
ROUNDING = 2.0**-22
"""Relative difference of values whose float32 differ in their last bits."""
NOT_EXAMINED = "not examined"
ROW, TEXT, ORDER, KEY = "__number", "__text", "__order", "key "


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One value that differs. then: the value from what the tables had and knew at the request."""

    prediction_id: str
    event_time: datetime
    version: int
    entity: dict[str, str | None]
    served: Any
    then: Any
    now: Any


class FeatureCause(msgspec.Struct, frozen=True, kw_only=True):
    """How often one feature differs for one cause."""

    feature: str
    cause: str
    rows: int
    examples: tuple[Example, ...]


class FeatureAudit(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an audit. compared: by feature how many answers; not_compared: features that no view gives."""

    model: str
    since: datetime | None
    until: datetime | None
    logged: int
    """Answers with features in that time."""
    audited: int
    compared: dict[str, int]
    not_compared: tuple[str, ...]
    differences: tuple[FeatureCause, ...]

    @property
    def unexplained(self) -> int:
        """Values whose difference has no known cause."""
        return sum(each.rows for each in self.differences if each.cause == "unexplained")


@dataclass(frozen=True)
class _Asked:
    """Answers of one version with the features of one view.

    view: as the answering version has it. types: of its served features, by name. X: all served features, and places:
    where those of the view are in it. rows: of the log; keys, at: of the entities, and the event times (microseconds).
    """

    view: FeatureView
    types: Mapping[str, str]
    X: Any
    places: Mapping[str, int]
    rows: pl.DataFrame
    keys: pl.DataFrame
    at: Array


def audit(
    workspace: Workspace,
    model: Model,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    sample: int = SAMPLE,
) -> FeatureAudit:
    """Audit the served features of a model.

    Args:
        workspace: has the prediction log, the tables and the records.
        model: the model.
        since, until: event times of the answers, from and to; None: all.
        sample: most answers that are audited. They are chosen by their ids, so the same ones are chosen again.

    Returns:
        The numbers of differences by feature and cause, with examples.

    Raises:
        StageError: the model has no view, or the log has no answers with features in that time.
    """
    if not model.views:
        raise StageError(f"model '{model.name}' has no feature view: its features come with the requests")
    views = _views_by_version(workspace, model)
    rows, logged = _sampled(workspace, model, views, since, until, sample)
    if rows.is_empty():
        raise StageError(
            f"the prediction log has no answers of model '{model.name}' with features in that time; "
            "see what it has: trimtab log"
        )
    compared: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[Example]] = {}
    for asked in _asked(workspace, views, rows):
        compared.update({name: len(asked.rows) for name in asked.types})
        for name, cause, example in _Replay(workspace, model, asked).differences():
            counts[name, cause] += 1
            shown = examples.setdefault((name, cause), [])
            if example is not None and len(shown) < EXAMPLES:
                shown.append(example)
    of_views = [name for name in model.feature_names if name in compared]
    return FeatureAudit(
        model=model.name,
        since=since,
        until=until,
        logged=logged,
        audited=rows.height,
        compared={name: compared[name] for name in of_views},
        not_compared=tuple(name for name in model.feature_names if name not in compared),
        differences=tuple(
            FeatureCause(feature=name, cause=cause, rows=counts[name, cause], examples=tuple(examples[name, cause]))
            for name, cause in sorted(counts, key=lambda key: (-counts[key], key))
        ),
    )


_Views = dict[int, tuple[DatasetVersion, list[FeatureView]]]


def _views_by_version(workspace: Workspace, model: Model) -> _Views:
    """Return by version of the model its data set and views."""
    found: _Views = {}
    for bundle in workspace.metadata.find(Bundle, model=model.name):
        dataset = workspace.metadata.get(DatasetVersion, bundle.dataset)
        views = [view_of(workspace.metadata.get(FeatureViewVersion, id_)) for id_ in dataset.views]
        found[bundle.version] = dataset, views
    return found


def _sampled(
    workspace: Workspace, model: Model, views: _Views, since: datetime | None, until: datetime | None, sample: int
) -> tuple[pl.DataFrame, int]:
    """Return the chosen answers, with a column of text for each key of an entity, and how many there are."""
    keys = sorted({name for _, of in views.values() for view in of for name in view.entity.keys})
    taken = ("prediction_id", "version", "event_time", "logged_at", "features", "typed")
    parts: list[pl.DataFrame] = []
    block, cursor = workspace.predictions.read(START, limit=BLOCK_ROWS)
    logged = 0
    while block.num_rows:
        own = block.filter(pc.and_(pc.equal(block["model"], model.name), block["served"]))
        own = own.filter(own["features"].is_valid())
        for bound, fits in ((since, pc.greater_equal), (until, pc.less)):
            if bound is not None:
                own = own.filter(fits(own["event_time"], pa.scalar(bound, pa.timestamp("us", tz="UTC"))))
        logged += own.num_rows
        found = pl.from_arrow(own.select(taken))
        assert isinstance(found, pl.DataFrame)
        found = found.with_columns(
            pl.Series(ORDER, [zlib.crc32(id_.encode()) for id_ in found["prediction_id"]], dtype=pl.UInt32),
            *(
                pl.Series(KEY + name, pc.map_lookup(own["entities"], pa.scalar(name), "first").to_pylist(), pl.String)
                for name in keys
            ),
        )
        parts = [pl.concat([*parts, found]).sort(ORDER, maintain_order=True).head(sample)]
        block, cursor = workspace.predictions.read(cursor, limit=BLOCK_ROWS)
    return (parts[0].sort("event_time", maintain_order=True) if parts else pl.DataFrame()), logged


def _asked(workspace: Workspace, views: _Views, rows: pl.DataFrame) -> Iterator[_Asked]:
    """Yield the answers by version and view."""
    for (version,), of_version in rows.group_by("version", maintain_order=True):
        dataset, of = views.get(int(str(version)), (None, []))
        if dataset is None:
            continue
        answers, X = served_matrix(dataset, of_version)
        if X is None:
            continue
        for view in of:
            names = [name for name in view.feature_names if name in dataset.features]
            schema = workspace.tables.scan(view.source.name).collect_schema()
            keys = pl.DataFrame([_key(answers[KEY + name], name, schema[name]) for name in view.entity.keys])
            at = micros(answers["event_time"], where="the prediction log")
            types = {name: dataset.feature_types.get(name, "number") for name in names}
            places = {name: dataset.features.index(name) for name in names}
            yield _Asked(view, types, X, places, answers, keys, at)


def _key(texts: pl.Series, name: str, dtype: pl.DataType) -> pl.Series:
    """Return a key as the table of a view has it, from the texts of the log; null for what is none."""
    if dtype == pl.Boolean:
        return texts.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None).alias(name)
    plain = pl.Int64 if dtype.is_integer() and dtype != pl.UInt64 else dtype if dtype.is_integer() else pl.String
    return texts.cast(plain, strict=False).alias(name)


class _Replay:
    """Finds the cause of each difference of one view and version."""

    def __init__(self, workspace: Workspace, model: Model, asked: _Asked) -> None:
        self.tables = workspace.tables
        self.asked = asked
        self.now = workspace.now()
        self.source = source = asked.view.source
        versions = workspace.metadata.find(TableVersion, table=source.name, oldest_first=True)
        self.versions = sorted(versions, key=lambda v: v.version)
        today = next((view for view in model.views if view.name == asked.view.name), None)
        self._today = None if today is None or today.version_id == asked.view.version_id else today

    def differences(self) -> Iterator[tuple[str, str, Example | None]]:
        """Yield feature, cause and an example for each value that differs from today's."""
        asked = self.asked
        table = self.tables.scan(self.source.name)
        all_rows = current(table, self.source, as_of=self.now)
        own = self.features(asked.view, all_rows, asked.keys, asked.at)
        now = dict(own)
        if self._today is not None:
            names = [name for name in self._today.feature_names if name in asked.types]
            now |= self.features(self._today, all_rows, asked.keys, asked.at, names)
        served = {name: served_column(asked.X, asked.places[name], now[name].dtype) for name in now}
        differ = {name: differing(now[name], served[name]) for name in now}
        rows = pl.DataFrame(list(differ.values())).select(pl.any_horizontal(pl.all()).arg_true()).to_series().to_list()
        causes = _Causes(self, table, rows[:EXAMINED], served)
        for place in rows:
            wrong = [name for name in now if differ[name][place]]
            cause, then = NOT_EXAMINED, None
            if place in causes.places:
                changed = all(not _unequal(own[name], served[name], place) for name in wrong)
                cause, then = causes.of(place, wrong)
                cause = "changed definition" if self._today is not None and changed else cause
            for name in wrong:
                yield name, cause, self._example(place, name, served, then, now)

    def _example(
        self,
        place: int,
        name: str,
        served: Mapping[str, pl.Series],
        then: Mapping[str, pl.Series] | None,
        now: Mapping[str, pl.Series],
    ) -> Example:
        asked = self.asked
        row = asked.rows.row(place, named=True)
        return Example(
            prediction_id=row["prediction_id"],
            event_time=row["event_time"],
            version=row["version"],
            entity={key: row[KEY + key] for key in asked.view.entity.keys},
            served=served[name][place],
            then=None if then is None or name not in then else then[name][0],
            now=now[name][place],
        )

    def features(
        self, view: FeatureView, rows: pl.LazyFrame, keys: pl.DataFrame, at: Array, names: Sequence[str] | None = None
    ) -> dict[str, pl.Series]:
        """Return features of a view by name, each in its type, as a training set has them."""
        where = f"FeatureView '{view.name}'"
        found = view_values(view, rows, keys, at)
        types = self.asked.types
        return {
            name: typed_column(found[name], types[name], where=where)  # type: ignore[arg-type]  # of the record
            for name in (types if names is None else names)
        }


class _Causes:
    """Tries for single rows what the store may have had at the request. places: of the rows that are examined."""

    def __init__(
        self, replay: _Replay, table: pl.LazyFrame, places: Sequence[int], served: Mapping[str, pl.Series]
    ) -> None:
        self._replay = replay
        self._served = served
        self.places = frozenset(places)
        asked, source = replay.asked, replay.source
        keys, where = list(asked.view.entity.keys), f"FeatureView '{asked.view.name}'"
        self._texts = dict(zip(places, encode_keys(plain_keys(asked.keys[list(places)], where=where)), strict=True))
        self._by_entity: dict[bytes, pl.DataFrame] = {}
        schema = table.collect_schema()
        text = key_text({name: schema[name] for name in keys}, where=where).cast(pl.Binary).alias(TEXT)
        named = table.with_row_index(ROW).with_columns(text)
        own = named.filter(pl.col(TEXT).is_in(list(set(self._texts.values()))))
        if source.key:
            shared = own.select(source.key).unique()
            own = named.join(shared, on=list(source.key), how="semi", nulls_equal=True)
        self._rows = (own if asked.view.over is None else named).sort(ROW).collect()

    def of(self, place: int, wrong: Sequence[str]) -> tuple[str, Mapping[str, pl.Series] | None]:
        """Return the cause of a row's difference, and the values that the tables gave at the request."""
        replay, asked, source = self._replay, self._replay.asked, self._replay.source
        row = asked.rows.row(place, named=True)
        asked_at, logged = row["event_time"], row["logged_at"]
        versions = [v for v in replay.versions if v.created_at <= logged]
        remade = any(v.replaces_all and v.created_at > logged for v in replay.versions)
        height = versions[-1].rows if versions and not remade else None
        then = self._values(place, height=height, as_of=asked_at)
        if source.key and self._gives(place, wrong, self._values(place, as_of=asked_at)):
            return "correction", then
        if height is not None and self._gives(place, wrong, self._values(place, height=height, as_of=replay.now)):
            return "late data", then
        if height is not None and self._gives(place, wrong, then):
            return ("correction" if source.key else "late data"), then
        if remade and versions:
            rows = replay.tables.scan(source.name, version=versions[-1].version)
            before = self._values(place, rows=current(rows, source, as_of=asked_at), as_of=None)
            if self._gives(place, wrong, before):
                return "changed table", before
        now = self._values(place, as_of=replay.now)
        if all(_nearly(now[name][0], self._served[name][place]) for name in wrong):
            return "rounding", then
        without = self._values(place, height=0, as_of=asked_at)
        if self._gives(place, list(self._served), without):
            return "missing entity", then
        for older in self._stale(place, height, [v.rows for v in versions[-EARLIER - 1 : -1]], asked_at):
            if self._gives(place, wrong, older):
                return "stale watermark", then
        return "unexplained", then

    def _stale(
        self, place: int, height: int | None, heights: Sequence[int], asked_at: datetime
    ) -> Iterator[dict[str, pl.Series]]:
        """Yield the values of earlier versions of the table, and of the table up to earlier times."""
        for earlier in reversed(heights):
            yield self._values(place, height=earlier, as_of=asked_at)
        counts = self._own(place).select(counts_from=_counts_from(self._replay.source))["counts_from"].drop_nulls()
        for moment in counts.filter(counts <= asked_at).unique().sort(descending=True).head(EARLIER):
            for known in dict.fromkeys((height, None)):
                yield self._values(place, height=known, as_of=asked_at, before=moment)

    def _own(self, place: int) -> pl.DataFrame:
        """Return the rows of an answer's entity, and those of others with their keys, with their numbers in ROW."""
        entity = self._texts[place]
        if entity not in self._by_entity:
            source, own = self._replay.source, self._rows.filter(pl.col(TEXT) == entity)
            if self._replay.asked.view.over is not None:
                own = self._rows
            elif source.key:
                own = self._rows.join(
                    own.select(source.key).unique(), on=list(source.key), how="semi", nulls_equal=True
                )
            self._by_entity[entity] = own
        return self._by_entity[entity]

    def _values(
        self,
        place: int,
        *,
        as_of: datetime | None,
        height: int | None = None,
        before: datetime | None = None,
        rows: pl.LazyFrame | None = None,
    ) -> dict[str, pl.Series]:
        """Return the features of one row from the first `height` rows of the table, those that count before a time."""
        replay, asked, source = self._replay, self._replay.asked, self._replay.source
        if rows is None:
            own = self._own(place) if height is None else self._own(place).filter(pl.col(ROW) < height)
            rows = current(own.lazy(), source, as_of=as_of)
            if before is not None:
                rows = rows.filter(_counts_from(source) < before)
        return replay.features(asked.view, rows, asked.keys[place : place + 1], asked.at[place : place + 1])

    def _gives(self, place: int, names: Sequence[str], values: Mapping[str, pl.Series]) -> bool:
        return all(
            not differing(values[name], self._served[name][place : place + 1])[0] for name in names if name in values
        )


def _counts_from(source: Source) -> pl.Expr:
    """Return the time from which a row counts, as far as its windows let it."""
    times = [pl.col(name).cast(pl.Datetime("us", "UTC")) for name in (source.timestamp, source.known_column)]
    return pl.when(pl.all_horizontal(time.is_not_null() for time in times)).then(pl.max_horizontal(times))


def _unequal(one: pl.Series, other: pl.Series, place: int) -> bool:
    return bool(differing(one[place : place + 1], other[place : place + 1])[0])


def _nearly(one: Any, other: Any) -> bool:
    """Return True for two numbers that differ by a rounding."""
    if not isinstance(one, float) or not isinstance(other, float):
        return False
    return abs(one - other) <= ROUNDING * max(abs(one), abs(other))
