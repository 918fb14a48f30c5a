"""Packs the recent rows of entities, from which the values of a view are computed again when new rows come.

A row that has left the longest window counts no more. So of each entity only rows are kept that a value at or after a
time, its horizon, may need; the rest of the table is read only for rows that come later than that.

An entity's packed rows are its horizon, the number of its rows, a record of fixed size for each row, and behind them
as MessagePack the columns that have no fixed size. So the rows of many entities are read and written in one piece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trimtab.definitions.views import FeatureView
from trimtab.features.value_types import Array
from trimtab.features.view_windows import finite_windows, window_of
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")  # a gateway imports this file, and needs no Polars

ALL = np.iinfo(np.int64).min // 2
"""The horizon of an entity all of whose rows are kept; a window can be subtracted from it without overflow."""

_HEAD = struct.Struct("<qI")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[Any]]).decode


@dataclass(frozen=True)
class RecentRows:
    """Rows of entities. records: one a row. texts: by place among the columns the values without a fixed size."""

    records: Array
    texts: Mapping[int, Array]

    def take(self, places: Array) -> RecentRows:
        """Return some rows by their places, or those where a mask is True."""
        return RecentRows(self.records[places], {at: values[places] for at, values in self.texts.items()})

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class RowFormat:
    """How rows of a view are packed. types: the columns that its features read, with their types in the table.

    A record has the row's number in the table, the time from which its windows run, the time that orders rows of one
    time, and for each column a value and whether it is null. For times see `view_rows`.
    """

    types: Mapping[str, pl.DataType]
    record: np.dtype[Any]

    @classmethod
    def of(cls, types: Mapping[str, pl.DataType]) -> RowFormat:
        """Lay out the records."""
        fields: list[tuple[str, Any]] = [("row", "<i8"), ("time", "<i8"), ("known", "<i8")]
        for at, dtype in enumerate(types.values()):
            if (fixed := _fixed(dtype)) is not None:
                fields += [(f"v{at}", fixed), (f"n{at}", "?")]
        return cls(types, np.dtype(fields))

    def rows(self, frame: pl.DataFrame, numbers: Array, times: Array, known: Array) -> RecentRows:
        """Return the rows of a frame. numbers: of the rows in the table. times, known: microseconds; all (rows,)."""
        records = np.zeros(len(numbers), dtype=self.record)
        records["row"], records["time"], records["known"] = numbers, times, known
        texts: dict[int, Array] = {}
        for at, (name, dtype) in enumerate(self.types.items()):
            column = frame[name]
            if _fixed(dtype) is None:
                texts[at] = np.array(column.cast(pl.String).to_list(), dtype=object)
                continue
            physical = column.to_physical()
            if physical.null_count():
                records[f"n{at}"] = physical.is_null().to_numpy()
                physical = physical.fill_null(False if dtype == pl.Boolean else 0)
            records[f"v{at}"] = physical.to_numpy()
        return RecentRows(records, texts)

    def frame(self, rows: RecentRows) -> pl.DataFrame:
        """Return the columns of rows, with the types of the table."""
        columns = []
        for at, (name, dtype) in enumerate(self.types.items()):
            if at in rows.texts:
                columns.append(pl.Series(name, rows.texts[at].tolist(), dtype=pl.String).cast(dtype))
                continue
            values = np.ascontiguousarray(rows.records[f"v{at}"])
            column = (
                pl.Series(name, values).cast(dtype) if dtype.is_temporal() else pl.Series(name, values, dtype=dtype)
            )
            nulls = rows.records[f"n{at}"]
            columns.append(column.set(pl.Series(nulls), None) if nulls.any() else column)
        return pl.DataFrame(columns)

    def pack(self, rows: RecentRows, starts: Array, horizons: Sequence[int]) -> list[bytes]:
        """Return the packed rows of each entity. starts: first row of each entity, and the number of all rows."""
        content, size, bounds = rows.records.tobytes(), self.record.itemsize, starts.tolist()
        packed = []
        for entity, horizon in enumerate(horizons):
            first, end = bounds[entity], bounds[entity + 1]
            one = _HEAD.pack(horizon, end - first) + content[first * size : end * size]
            if rows.texts:
                one += _encode([values[first:end].tolist() for values in rows.texts.values()])
            packed.append(one)
        return packed

    def unpack(self, packed: Iterable[bytes]) -> tuple[RecentRows, Array, Array]:
        """Return the rows of entities one behind the other, how many each has, and their horizons."""
        size = self.record.itemsize
        places = [at for at, dtype in enumerate(self.types.values()) if _fixed(dtype) is None]
        parts, counts, horizons = [], [], []
        texts: list[list[Any]] = [[] for _ in places]
        for one in packed:
            horizon, count = _HEAD.unpack_from(one)
            end = _HEAD.size + count * size
            parts.append(one[_HEAD.size : end])
            counts.append(count)
            horizons.append(horizon)
            if places and count:
                for values, more in zip(texts, _decode(one[end:]), strict=True):
                    values += more
        records = np.frombuffer(b"".join(parts), dtype=self.record)
        columns = {at: np.array(values, dtype=object) for at, values in zip(places, texts, strict=True)}
        return RecentRows(records, columns), np.array(counts, dtype=np.int64), np.array(horizons, dtype=np.int64)

    @property
    def empty(self) -> RecentRows:
        """No rows."""
        return self.unpack([])[0]

    def together(self, *several: RecentRows) -> RecentRows:
        """Return the rows of all, one behind the other."""
        records = np.concatenate([rows.records for rows in several])
        return RecentRows(
            records, {at: np.concatenate([rows.texts[at] for rows in several]) for at in several[0].texts}
        )


def needed_rows(view: FeatureView, entities: Array, rows: Array | Mapping[str, Array], horizon: int) -> Array | None:
    """Return which rows a value at or after the horizon may need, bool; None: all of them, at every horizon.

    Args:
        view: the view.
        entities: number of each row's entity, (rows,).
        rows: records of `RowFormat`, or an array with the fields row, time and known.
        horizon: microseconds.

    Needed are the rows that leave a window, or become known, at the horizon or later. For the latest and the first
    value without an age limit the latest and the first of the others are needed, too. Other features without a limit,
    and those with a filter, need all rows.
    """
    endless = [a for a in view.leaves if window_of(view, a) is None]
    if any(a.kind not in ("last", "since_last", "first") or a.where is not None for a in endless):
        return None
    bound = horizon - (view.every_micros or 0)
    longest = max(finite_windows(view), default=0)
    needed: Array = (rows["time"] >= bound - longest) | (rows["known"] >= bound)
    if endless and not needed.all():
        old = np.flatnonzero(~needed)
        order = old[np.lexsort((rows["row"][old], rows["known"][old], rows["time"][old], entities[old]))]
        changes = entities[order][1:] != entities[order][:-1]
        if any(a.kind == "first" for a in endless):
            needed[order[np.append(True, changes)]] = True
        needed[order[np.append(changes, True)]] = True
    return needed


def _fixed(dtype: pl.DataType) -> str | None:
    """Return the NumPy type of a column in records, None if its values have no fixed size."""
    if isinstance(dtype, pl.Datetime):
        return "<i8"
    return {
        pl.Boolean: "?",
        pl.Date: "<i4",
        pl.Int8: "<i1",
        pl.Int16: "<i2",
        pl.Int32: "<i4",
        pl.Int64: "<i8",
        pl.UInt8: "<u1",
        pl.UInt16: "<u2",
        pl.UInt32: "<u4",
        pl.UInt64: "<u8",
        pl.Float32: "<f4",
        pl.Float64: "<f8",
    }.get(dtype.base_type())
