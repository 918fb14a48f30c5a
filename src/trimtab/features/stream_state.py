"""Keeps the online values of a view up to date from the new rows of its table alone.

The values are those of all rows known by `until`, byte for byte, in however many steps the rows came. A step costs by
its rows and the recent rows of their entities, not by the table. What it needs is kept in the online store and written
together with the values:

position       how many rows of the table are taken in, and when the next of those that are not known yet becomes known
recent rows    of each entity (`recent_rows`)
keys           for a source with a key: which row of each key counts, so a correction finds the row that it replaces

An entity's timeline is written again from the earliest time at which a new or replaced row can change it. If that lies
before the entity's horizon, more than `lateness` ago, its rows are read from the table. Without a state, all is
computed from the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from trimtab.clock import from_micros, to_micros
from trimtab.definitions.views import FeatureView
from trimtab.errors import UsageError
from trimtab.features.corrections import replaced as replaced_rows
from trimtab.features.point_in_time import rows_of_view
from trimtab.features.state.position import KEY as POSITION
from trimtab.features.state.position import Position, read_position
from trimtab.features.state.recent_rows import ALL, RecentRows, RowFormat, needed_rows
from trimtab.features.state.standing_rows import Standing, key_digests, latest_of, stands
from trimtab.features.state.timeline_entries import timeline_entries
from trimtab.features.table_columns import NEVER, encode_keys, key_text, micros, plain_keys
from trimtab.features.value_types import Array
from trimtab.features.view_rows import (
    ENTITY,
    ViewRows,
    check_columns,
    choose_rows,
    distinct_keys,
    numbers_of,
    read_moments,
    value_columns,
)
from trimtab.features.view_windows import ceil_to
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.online.contract import Online
from trimtab.units import MICROS

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")  # a gateway imports this file, and needs no Polars

LATENESS = MICROS["h"]
"""Microseconds by which rows may come late without a look into the table."""

ENTITY_ROWS, KEY = b"e", b"k"
"""Beginnings of the keys of the state."""

ROW = "__row"
LAST = 1 << 62
"""A time after all entries."""

log = logging.getLogger(__name__)


@dataclass
class _Fresh:
    """Rows that a step takes in, in the order of the table; arrays of shape (rows,).

    told: when the row became known, effective: from when on it counts; microseconds, NEVER for never. keys: encoded
    entity, None for none.
    """

    frame: pl.DataFrame
    numbers: Array
    times: Array
    known: Array
    told: Array
    effective: Array
    keys: list[bytes | None]

    def only(self, kept: Array) -> _Fresh:
        if kept.all():
            return self
        places = np.flatnonzero(kept)
        return _Fresh(
            self.frame.filter(pl.Series(kept)),
            self.numbers[places],
            self.times[places],
            self.known[places],
            self.told[places],
            self.effective[places],
            [self.keys[place] for place in places.tolist()],
        )


@dataclass
class _Step:
    """What a step changes. since: by entity the time from which its timeline is written again."""

    since: dict[bytes, int] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    standing: dict[bytes, Standing] = field(default_factory=dict)

    def touch(self, entity: bytes, moment: int) -> None:
        self.since[entity] = min(moment, self.since.get(entity, moment))


class StreamUpdater:
    """Brings the timelines of one view up to date; several processes may do so at once.

    >>> from datetime import UTC, datetime
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import polars as pl
    >>> import trimtab as tt
    >>> from trimtab.stores.catalog import open_online
    >>> payments = tt.FileSource("payments", "payments.csv", timestamp="at")
    >>> view = tt.FeatureView("spent", tt.Entity("card"), payments, [tt.count("1h")])
    >>> table = pl.DataFrame({"card": ["a", "a"], "at": [datetime(2026, 1, 1, 0, 5), datetime(2026, 1, 1, 0, 7)]})
    >>> folder = TemporaryDirectory()
    >>> online = open_online(None, Path(folder.name))
    >>> updater = StreamUpdater(view, online, table.lazy)
    >>> until = int(datetime(2026, 1, 1, 0, 10, tzinfo=UTC).timestamp() * 1e6)
    >>> updater.update(until=until)  # two rows come and two go
    4
    >>> updater.position.rows
    2
    >>> online.close()
    """

    def __init__(
        self,
        view: FeatureView,
        online: Online,
        table: Callable[[], pl.LazyFrame],
        *,
        lateness: int = LATENESS,
    ) -> None:
        """Prepare the updater; nothing is read.

        Args:
            view: the view.
            online: the store.
            table: returns the table of the view's source, at least with the rows that `update` is given. It only
                grows: rows are added behind the others, in all columns as they are.
            lateness: microseconds; rows that come later than that are computed from the table.
        """
        self.view = view
        self.lateness = lateness
        self._id = view.version_id
        self._online = online
        self._table = table

    @property
    def position(self) -> Position | None:
        """What is taken in, None when there is no state."""
        return read_position(self._online, self._id)

    def update(
        self,
        rows: pl.DataFrame | None = None,
        *,
        until: int,
        first: int | None = None,
        version: int | None = None,
        full: bool = False,
    ) -> int:
        """Take in new rows, and write all values of the rows known by `until`.

        Args:
            rows: rows of the table, from its row number `first` on; None: all of the table that is not taken in yet.
                Rows that are taken in already are left out. If rows before `first` are missing, the table is read.
            until: microseconds since the epoch; becomes the watermark. Before the watermark, nothing is changed.
            first: number of the first of `rows` in the table, from 0.
            version: the version of the table that has these rows; kept in the position.
            full: compute all values anew, because rows of the table were replaced.

        Returns:
            The number of entries that changed the store.

        Raises:
            DefinitionError: a column is missing or has a wrong type.
            UsageError: `full` is given, and `until` lies before the watermark; or `rows` without `first`.
        """
        if (rows is None) != (first is None):
            raise UsageError("StreamUpdater.update: give `rows` and `first`, the number of their first row, together")
        with self._online.turn(self._id):
            watermark = self._online.watermark(self._id)
            if watermark is not None and until < watermark:
                if full:
                    raise UsageError(
                        f"view '{self.view.name}' is materialized up to {watermark} already; expected `until` at or "
                        f"after that, not {until}"
                    )
                return 0
            position, gaps = self.position, tuple[tuple[int, int], ...]()
            if position is not None and watermark is not None:
                gaps = position.after(watermark, until)
                same = version is not None and position.version == version
                now = msgspec.structs.replace(position, gaps=gaps, **({} if version is None else {"version": version}))
                if self.view.over is not None:  # a row of one entity may change the values of others
                    if not full and same and position.due > until:
                        return self._online.write(self._id, [], until=until, state={POSITION: now.pack()})
                elif not full and (done := self._advance(now, watermark, until, rows, first)) is not None:
                    return done
            return self._rebuild(until, -1 if version is None else version, gaps)

    def _advance(
        self, position: Position, watermark: int, until: int, rows: pl.DataFrame | None, first: int | None
    ) -> int | None:
        """Take in the rows after a position; None when all must be computed from the table."""
        given = rows is not None and first is not None and first <= position.rows
        if given and rows is not None and first is not None:
            new = rows.slice(position.rows - first)
        else:
            table = self._table()
            check_columns(self.view, table.collect_schema())
            new = table.slice(position.rows).select(self._columns).collect()
            if not new.height and table.select(pl.len()).collect().item() < position.rows:
                return None  # it is another table
        check_columns(self.view, new.schema)
        if {name: str(new.schema[name]) for name in self._columns} != position.types:
            return self._advance(position, watermark, until, None, None) if given else None
        behind = position.rows + new.height
        numbered = new.select(*self._columns, pl.int_range(position.rows, behind, dtype=pl.Int64).alias(ROW))
        due = position.due
        if due <= until:  # rows that came before they were known
            waiting, due = self._waiting(position.rows, watermark, until)
            numbered = pl.concat([waiting, numbered])
        fresh = self._fresh(numbered)
        later = np.concatenate([fresh.told[fresh.told > until], fresh.effective[fresh.effective > until]])
        due = min(due, int(later.min(initial=NEVER)))
        types = {name: new.schema[name] for name in value_columns(self.view)}
        after = msgspec.structs.replace(position, rows=behind, due=due)
        return self._apply(fresh.only(fresh.told <= until), RowFormat.of(types), watermark, until, after)

    def _apply(self, fresh: _Fresh, layout: RowFormat, watermark: int, until: int, after: Position) -> int:
        """Write what the known rows of a step change."""
        view, step = self.view, _Step()
        counts = fresh.effective <= until
        if view.source.key and len(fresh.numbers):
            counts &= self._resolve(fresh, step, watermark)
        counts &= np.array([key is not None for key in fresh.keys], dtype=bool)
        counted = fresh.only(counts)
        for key, moment in zip(counted.keys, ceil_to(counted.effective, view.every_micros).tolist(), strict=True):
            step.touch(key, moment)  # type: ignore[arg-type]  # rows without an entity do not count
        entities = {key: number for number, key in enumerate(step.since)}
        owners = np.array([entities[key] for key in counted.keys if key is not None], dtype=np.int64)
        rows = layout.rows(counted.frame, counted.numbers, counted.times, counted.known)
        rows, owners, horizons = self._with_recent((rows, owners), entities, step, layout, after, until)
        since = np.array(list(step.since.values()), dtype=np.int64)
        online, keys = self._online, list(entities)
        pairs = [(online.prefix(self._id), key) for key in keys]
        before = online.read_each(pairs, (since - 1).tolist())
        records = rows.records
        source = ViewRows(
            view, layout.frame(rows).lazy(), len(rows), owners, records["time"].copy(), records["known"].copy(), None
        )
        entries = timeline_entries(source, keys, since=since, before=before)
        state: dict[bytes, bytes | None] = dict(self._packed(rows, owners, keys, horizons, layout, until))
        state |= {KEY + key: one.pack() for key, one in step.standing.items()}
        state[POSITION] = after.pack()
        return online.write(self._id, entries, until=until, since=step.since, state=state)

    def _resolve(self, fresh: _Fresh, step: _Step, watermark: int) -> Array:
        """Find for rows of a source with a key which ones stand, and which rows of earlier steps they replace.

        A row with a null in its key always stands. Returns bool by row.
        """
        digests = key_digests(fresh.frame.select(self.view.source.key))
        wanted = list(dict.fromkeys(digest for digest in digests if digest is not None))
        found = self._online.state(self._id, [KEY + digest for digest in wanted])
        stood = {key: Standing.unpack(value) for key, value in zip(wanted, found, strict=True) if value is not None}
        columns = (fresh.told.tolist(), fresh.numbers.tolist(), fresh.effective.tolist())
        rows = (
            Standing(told, number, effective, key or b"")
            for told, number, effective, key in zip(*columns, fresh.keys, strict=True)
        )
        now = latest_of(stood, zip(digests, rows, strict=True))
        for digest, one in now.items():
            before = stood.get(digest)
            if before != one:
                step.standing[digest] = one
                if before is not None and before.entity and before.effective <= watermark:
                    step.removed.append(before.row)
                    step.touch(before.entity, int(ceil_to(np.array(before.effective), self.view.every_micros)))
        return stands(digests, now, fresh.numbers)

    def _with_recent(
        self,
        fresh: tuple[RecentRows, Array],
        entities: Mapping[bytes, int],
        step: _Step,
        layout: RowFormat,
        after: Position,
        until: int,
    ) -> tuple[RecentRows, Array, Array]:
        """Add to fresh rows, which come with their owners, the other rows of their entities that may count.

        Returns the rows in the order of the table, the number of each one's entity, and each entity's horizon.
        """
        view, online = self.view, self._online
        keys = list(entities)
        stored = online.state(self._id, [ENTITY_ROWS + key for key in keys])
        newest = online.read(list(zip([online.prefix(self._id)] * len(keys), keys, strict=True)), LAST)
        nothing = [layout.pack(layout.empty, np.zeros(2, dtype=np.int64), [h])[0] for h in (ALL, after.horizon)]
        packed = [
            one if one is not None else nothing[0 if value is None else 1]
            for one, value in zip(stored, newest, strict=True)
        ]
        recent, counts, horizons = layout.unpack(packed)
        owners = np.repeat(np.arange(len(keys)), counts)
        deep = np.array(list(step.since.values()), dtype=np.int64) < horizons
        parts = [(recent, owners), fresh]
        if deep.any():
            log.info("view '%s': the rows of %d entities are read from the table", view.name, deep.sum())
            kept = [(rows.take(~deep[theirs]), theirs[~deep[theirs]]) for rows, theirs in parts]
            parts = [*kept, self._from_table(entities, deep, step, layout, after, until)]
            horizons = np.where(deep, ALL, horizons)
        rows, owners = layout.together(*(rows for rows, _ in parts)), np.concatenate([theirs for _, theirs in parts])
        order = np.argsort(rows.records["row"], kind="stable")
        if step.removed:
            order = order[~np.isin(rows.records["row"][order], step.removed)]
        return rows.take(order), owners[order], horizons

    def _from_table(
        self,
        entities: Mapping[bytes, int],
        deep: Array,
        step: _Step,
        layout: RowFormat,
        after: Position,
        until: int,
    ) -> tuple[RecentRows, Array]:
        """Read all rows of some entities that count at some time up to `until`, and the number of each one's entity."""
        view = self.view
        wanted = [key.decode() for key, number in entities.items() if deep[number]]
        table = self._table().with_row_index(ROW).head(after.rows)
        schema = table.collect_schema()
        text = key_text({name: schema[name] for name in view.entity.keys}, where=f"FeatureView '{view.name}'")
        frame = table.filter(text.is_in(wanted)).select(*self._columns, pl.col(ROW).cast(pl.Int64)).collect()
        found = self._fresh(frame)
        counts = (found.told <= until) & (found.effective <= until)
        if view.source.key:
            digests = key_digests(frame.select(view.source.key))
            asked = list(dict.fromkeys(digest for digest in digests if digest is not None))
            stored = self._online.state(self._id, [KEY + digest for digest in asked])
            standing = {d: Standing.unpack(value) for d, value in zip(asked, stored, strict=True) if value is not None}
            counts &= stands(digests, standing | step.standing, found.numbers)
        found = found.only(counts)
        owners = np.array([entities[key] for key in found.keys if key is not None], dtype=np.int64)
        return layout.rows(found.frame, found.numbers, found.times, found.known), owners

    def _packed(
        self, rows: RecentRows, owners: Array, keys: Sequence[bytes], horizons: Array, layout: RowFormat, until: int
    ) -> dict[bytes, bytes | None]:
        """Return the packed rows of entities by the key of their state, without those that no value needs any more."""
        horizons = np.maximum(horizons, until - self.lateness)
        needed = needed_rows(self.view, owners, rows.records, until - self.lateness)
        if needed is None:
            horizons = np.full(len(keys), ALL)
        elif not needed.all():
            rows, owners = rows.take(needed), owners[needed]
        order = np.argsort(owners, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(keys)))])
        packed = layout.pack(rows.take(order), starts, horizons.tolist())
        return {ENTITY_ROWS + key: one for key, one in zip(keys, packed, strict=True)}

    def _waiting(self, height: int, watermark: int, until: int) -> tuple[pl.DataFrame, int]:
        """Read those of the first rows of the table that become known or count after the watermark, up to `until`.

        Returns them, and when the next one does.
        """
        table = self._table().with_row_index(ROW).head(height)
        source = self.view.source
        told, stamp = (pl.col(name).cast(pl.Datetime("us", "UTC")) for name in (source.known_column, source.timestamp))
        effective = pl.when(told.is_not_null() & stamp.is_not_null()).then(pl.max_horizontal(told, stamp))
        start, end = from_micros(watermark), from_micros(until)
        now = pl.any_horizontal(time.is_between(start, end, closed="right") for time in (told, effective))
        later = [
            pl.when(time > end).then(time).min().alias(name) for name, time in (("told", told), ("due", effective))
        ]
        frame, next_ = pl.collect_all(
            [table.filter(now).select(*self._columns, pl.col(ROW).cast(pl.Int64)), table.select(later)]
        )
        dues = [to_micros(time) for time in next_.row(0) if time is not None]
        return frame, min(dues, default=NEVER)

    def _fresh(self, frame: pl.DataFrame) -> _Fresh:
        """Read the times and entities of rows, which have their numbers in column ROW."""
        view, source = self.view, self.view.source
        where = f"FeatureView '{view.name}', source '{source.name}'"
        times = micros(frame[source.timestamp], where=where)
        told = times if source.known_at is None else micros(frame[source.known_at], where=where)
        effective, known = np.maximum(times, told), told
        if view.window_by == "known_at":
            times, known = effective, times
        plain = plain_keys(frame.select(view.entity.keys), where=where)
        keys: list[bytes | None] = list(encode_keys(plain))
        if any(column.null_count() for column in plain):
            lacking = plain.select(pl.any_horizontal(pl.all().is_null())).to_series().to_list()
            keys = [None if none else key for none, key in zip(lacking, keys, strict=True)]
        return _Fresh(frame, frame[ROW].to_numpy(), times, known, told, effective, keys)

    @property
    def _columns(self) -> list[str]:
        source = self.view.source
        named = (*self.view.entity.keys, source.timestamp, source.known_column, *source.key)
        return list(dict.fromkeys((*named, *value_columns(self.view))))

    def _rebuild(self, until: int, version: int, gaps: tuple[tuple[int, int], ...]) -> int:
        """Compute all values and the whole state from the table."""
        view, table, source = self.view, self._table(), self.view.source
        gone = replaced_rows(table, source, as_of=from_micros(until))
        table = rows_of_view(view, table, gone)
        moments = read_moments(view, table)
        numbered = distinct_keys(view, moments.select(view.entity.keys))
        rows = choose_rows(view, table, moments, numbered, first=ALL, last=until)
        rows = rows.only(np.maximum(rows.times, rows.known) <= until)
        if len(gone):
            places = np.arange(len(rows.times)) if rows.chosen is None else rows.chosen
            rows = rows.only(~np.isin(places, gone))
        keys = encode_keys(numbered.drop(ENTITY))
        schema = table.collect_schema()
        layout = RowFormat.of({name: schema[name] for name in value_columns(view)})
        where = f"FeatureView '{view.name}', source '{source.name}'"
        told, stamps = (micros(moments[name], where=where) for name in (source.known_column, source.timestamp))
        effective = np.maximum(told, stamps)
        later = np.concatenate([told[told > until], effective[effective > until]])
        types = {name: str(schema[name]) for name in self._columns}
        state = self._recent(rows, keys, layout, until)
        horizon = until - self.lateness
        position = Position(moments.height, int(later.min(initial=NEVER)), horizon, types, version, gaps)
        state[POSITION] = position.pack()
        if source.key:
            stands = told <= until
            stands[gone] = False
            owners = numbers_of(view, moments.select(view.entity.keys), numbered)
            state |= self._standing(table, owners, keys, np.flatnonzero(stands), told, effective)
        entries = timeline_entries(rows, keys)
        return self._online.write(self._id, entries, until=until, replace=True, state=state)

    def _recent(
        self, rows: ViewRows, keys: Sequence[bytes], layout: RowFormat, until: int
    ) -> dict[bytes, bytes | None]:
        """Return the packed recent rows of all entities by the key of their state."""
        places = np.arange(len(rows.times)) if rows.chosen is None else rows.chosen
        moments = {"row": places, "time": rows.times, "known": rows.known}
        needed = needed_rows(self.view, rows.entities, moments, until - self.lateness)
        kept = np.arange(len(places)) if needed is None else np.flatnonzero(needed)
        columns = [rows.source.select(name).collect()[name].gather(places[kept]) for name in layout.types]
        recent = layout.rows(pl.DataFrame(columns), places[kept], rows.times[kept], rows.known[kept])
        owners, used = rows.entities[kept], np.unique(rows.entities[kept])
        owners = np.searchsorted(used, owners)
        horizons = np.full(len(used), ALL)
        return self._packed(recent, owners, [keys[number] for number in used.tolist()], horizons, layout, until)

    def _standing(
        self, table: pl.LazyFrame, owners: Array, keys: Sequence[bytes], places: Array, told: Array, effective: Array
    ) -> dict[bytes, bytes | None]:
        """Return which row of each key of the source stands, by the key of its state. places: of the rows that do."""
        digests = key_digests(table.select(self.view.source.key).collect()[places])
        lines = zip(
            digests,
            told[places].tolist(),
            places.tolist(),
            effective[places].tolist(),
            owners[places].tolist(),
            strict=True,
        )
        return {
            KEY + digest: Standing(known, row, since, keys[owner] if owner < len(keys) else b"").pack()
            for digest, known, row, since, owner in lines
            if digest is not None
        }
