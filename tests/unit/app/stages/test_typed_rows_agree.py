"""A request gets the typed values that the training set has for the same row, and the log keeps every bit of them."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimtab as tt
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.bundle.typed_packing import pack_rows, unpack_rows
from trimtab.clock import ManualClock, from_micros, to_micros
from trimtab.definitions.models import Model
from trimtab.errors import DataError
from trimtab.features.materialization import materialize
from trimtab.features.training_frames import request_types, training_frame
from trimtab.features.typed_plan import TypedPlan
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.online.lmdb import LmdbOnline
from trimtab.training.dataset import examples, freeze, schema_of

MINUTE = 60_000_000
ORDERS = tt.FileSource("orders", "orders.parquet", timestamp="ordered_at", known_at="paid_at")
LATEST = tt.FeatureView(
    "latest",
    tt.Entity("shop"),
    ORDERS,
    [
        tt.since_last(),
        tt.last("note", "zone"),
        tt.decayed_sum("price", "10m"),
        tt.last("day", "paid_at", window="20m"),
        tt.first("note", "day", where="rush"),
        tt.ratio(tt.decayed_count("5m"), tt.count("1h"), name="busy"),
        tt.mean("price", "30m"),
        tt.count("1h"),
    ],
)


@tt.on_demand(inputs=["note", "latest__note", "account"], outputs=["same", "first", "digit"])
def compared(note: Any, latest: Any, account: Any) -> Any:
    pairs = zip(note, latest, strict=True)
    return {
        "same": np.array([a is not None and a == b for a, b in pairs]),
        "first": np.array([None if not text else text[0] for text in note], dtype=object),
        "digit": account % 7,
    }


MODEL = Model(
    "late",
    "binary",
    ORDERS,
    "late",
    ["shop", "note", "zone", "account", "price", "day", "seen_at", "rush", "weight", LATEST, compared],
    input="frame",
    types={
        "note": "text",
        "zone": "category",
        "latest__note": "text",
        "latest__note_first_where_rush": "text",
        "compared__digit": "integer",
        "compared__first": "category",
        "compared__same": "boolean",
    },
)
TABLE: dict[str, Any] = {
    "ordered_at": pl.Datetime("us", "UTC"),
    "paid_at": pl.Datetime("us", "UTC"),
    "late": pl.Int8,
    "shop": pl.String,
    "note": pl.String,
    "zone": pl.Int64,
    "account": pl.Int64,
    "price": pl.Decimal(30, 4),
    "day": pl.Date,
    "seen_at": pl.Datetime("us", "UTC"),
    "rush": pl.Boolean,
    "weight": pl.Float64,
}
moments = st.integers(0, 90 * MINUTE).map(from_micros)
ROWS = st.lists(
    st.tuples(
        moments,
        moments,
        st.just(0),
        st.none() | st.sampled_from(["a", "b", "", "ü"]),
        st.none() | st.text(max_size=4),
        st.none() | st.sampled_from([1, 2, 2**60 + 1]),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.decimals(min_value=-(10**20), max_value=10**20, places=4),
        st.none() | st.dates(date(1, 1, 1), date(9999, 12, 31)),
        st.none() | st.datetimes(datetime(1975, 1, 1), datetime(9999, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),
        st.none() | st.booleans(),
        st.none() | st.floats(width=32),
    ),
    min_size=6,
    max_size=12,
)


def request_value(value: Any) -> Any:
    """A value as a JSON client sends it: decimals and times as text."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def exact(rows: TypedMatrix) -> list[Any]:
    return [values.tolist() for _, values in sorted(rows.exact.items())]


@settings(max_examples=20)  # each freezes a training set and makes two stores
@given(ROWS)
def test_training_gateway_and_log_agree_bit_for_bit(given_rows: list[tuple[Any, ...]]) -> None:
    table = pl.DataFrame(given_rows, schema=TABLE, orient="row").with_columns(
        late=(pl.int_range(pl.len()) % 2).cast(pl.Int8)
    )
    table = table.with_columns(
        ordered_at=pl.Series([from_micros(n * 7 * MINUTE) for n in range(len(table))], dtype=TABLE["ordered_at"]),
        paid_at=pl.Series([from_micros(n * 7 * MINUTE + MINUTE) for n in range(len(table))], dtype=TABLE["paid_at"]),
    )
    as_of = datetime(1970, 1, 3, tzinfo=UTC)
    frame = training_frame(MODEL, lambda _: table.lazy(), as_of=as_of)
    with tempfile.TemporaryDirectory() as folder:
        version = freeze(
            frame,
            model=MODEL,
            tables={},
            as_of=as_of,
            start=None,
            holdout_share=0.4,
            min_examples=2,
            artifacts=FolderArtifacts(Path(folder)),
            clock=ManualClock(as_of),
        )
        schema = schema_of(version)
        assert schema is not None
        trained = examples(frame, MODEL.feature_names, schema).X
        online = LmdbOnline(Path(folder) / "online")
        materialize(LATEST, table.lazy(), online, until=to_micros(as_of))
        plan = TypedPlan(MODEL, online, request_types(MODEL, lambda _: table.lazy()), schema)
        rows = json.loads(json.dumps([{n: request_value(v) for n, v in row.items()} for row in table.to_dicts()]))
        columns = {name: [row[name] for row in rows] for name in MODEL.request_columns}
        at = [to_micros(moment) for moment in table["ordered_at"]]
        served = plan.vectors(columns, at)
        single = [plan.vectors({n: v[k : k + 1] for n, v in columns.items()}, at[k : k + 1]) for k in range(len(at))]
        online.close()
    assert isinstance(trained, TypedMatrix)
    assert np.asarray(served).tobytes() == np.asarray(trained).tobytes()
    assert exact(served) == exact(trained)
    assert exact(np.concatenate(single)) == exact(trained)  # type: ignore[arg-type]  # of typed rows
    logged = unpack_rows(schema, np.asarray(served), pack_rows(served))
    assert np.asarray(logged).tobytes() == np.asarray(trained).tobytes()
    assert exact(logged) == exact(trained)
    assert logged.frame().equals(trained.frame())


@pytest.fixture
def plan(tmp_path: Path) -> TypedPlan:
    from trimtab.bundle.typed_matrix import Schema

    model = Model(
        "m",
        "binary",
        ORDERS,
        "late",
        ["note", "account", "price", "day", "seen_at", "rush", "shop"],
        input="frame",
        types={"note": "text"},
    )
    types = {
        "note": "text",
        "account": "integer",
        "price": "decimal",
        "day": "date",
        "seen_at": "timestamp",
        "rush": "boolean",
        "shop": "category",
    }
    return TypedPlan(model, LmdbOnline(tmp_path), {}, Schema(model.feature_names, types, {"shop": ("a",)}, "frame"))


GOOD = {
    "note": "n",
    "account": 1,
    "price": "1.5",
    "day": "2026-01-01",
    "seen_at": "2026-01-01T10:00Z",
    "rush": True,
    "shop": "a",
}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("note", 5, "column 'note', row 0: 5; expected text"),
        ("account", 1.5, "column 'account', row 0: 1.5; expected a whole number, which a float is up to"),
        ("account", 2**63, "column 'account', row 0: 9223372036854775808; expected a whole number of 64 bits"),
        ("account", True, "column 'account', row 0: true; expected a whole number"),
        ("account", 1e17, r"column 'account', row 0: 1e\+17; expected a whole number, which a float is up to"),
        ("price", "1,5", "column 'price', row 0: '1,5'; expected a decimal number, or its text such as '12.50'"),
        ("price", "NaN", "column 'price', row 0: 'NaN'; expected a decimal number"),
        ("day", "2026-01-01T10:00Z", "column 'day', row 0: '2026-01-01T10:00Z'; expected a date such as 2026-01-31"),
        ("seen_at", "noon", "column 'seen_at', row 0: 'noon' is not a timestamp"),
        ("rush", "yes", "column 'rush', row 0: 'yes'; expected true or false"),
        ("shop", 1.5, "column 'shop', row 0: 1.5; expected the text of a category"),
    ],
)
def test_a_value_of_another_type_is_explained(plan: TypedPlan, column: str, value: Any, message: str) -> None:
    assert len(plan.vectors({name: [given] for name, given in GOOD.items()}, [0])) == 1
    with pytest.raises(DataError, match=message):
        plan.vectors({name: [given] for name, given in {**GOOD, column: value}.items()}, [0])


def test_values_of_other_forms_are_the_same(plan: TypedPlan) -> None:
    one = plan.vectors({name: [given] for name, given in GOOD.items()}, [0])
    other = {**GOOD, "account": 1.0, "price": 1.5, "day": datetime(2026, 1, 1, tzinfo=UTC), "rush": 1}
    other["seen_at"] = to_micros(datetime(2026, 1, 1, 10, tzinfo=UTC))
    assert exact(plan.vectors({name: [given] for name, given in other.items()}, [0])) == exact(one)
    missing = plan.vectors({name: [None] for name in GOOD}, [0])
    assert np.isnan(missing).all()
    assert msgspec.msgpack.decode(pack_rows(missing)[0]) == [None] * 7
