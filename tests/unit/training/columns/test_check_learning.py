"""What is learnt of request columns: ranges with room, texts of a few values; what a schema says stands."""

from __future__ import annotations

import polars as pl

from trimtab.bundle.spec import ColumnCheck
from trimtab.training.columns.check_learning import learn_checks

ROWS = pl.DataFrame(
    {
        "distance": [100.0, 300.0] * 50,
        "delay": [None, 5.0] * 50,
        "constant": [7.0] * 100,
        "origin": ["EWR", "JFK"] * 50,
        "tail": [f"N{n}" for n in range(100)],
        "carrier": ["UA", "AA"] * 50,
        "empty": pl.Series([None] * 100, dtype=pl.Float64),
        "infinite": [1.0, float("inf")] * 50,
    }
)
KINDS = {name: "text" if kind == pl.String else "number" for name, kind in ROWS.schema.items()}


def test_numbers_get_a_range_with_room_and_texts_their_few_values() -> None:
    found = learn_checks(ROWS, KINDS, keys=("carrier",), given={})
    assert found == {
        "distance": ColumnCheck(lowest=-100.0, highest=500.0, null=False),
        "delay": ColumnCheck(lowest=0.0, highest=10.0),
        "constant": ColumnCheck(lowest=0.0, highest=14.0, null=False),
        "origin": ColumnCheck(values=("EWR", "JFK"), null=False),
        "infinite": ColumnCheck(lowest=0.0, highest=2.0, null=False),
    }


def test_what_the_schema_of_the_source_says_stands() -> None:
    given = {
        "distance": ColumnCheck(lowest=0.0, source="schema"),
        "carrier": ColumnCheck(values=("AA", "UA"), null=False, source="schema"),
        "delay": ColumnCheck(null=False, source="schema"),
        "empty": ColumnCheck(null=True, source="schema"),
        "unknown": ColumnCheck(lowest=1.0, source="schema"),
    }
    found = learn_checks(ROWS, KINDS, keys=("carrier",), given=given)
    assert found["distance"] == given["distance"]
    assert found["carrier"] == given["carrier"], "a key is checked where the schema says so"
    assert found["delay"] == ColumnCheck(lowest=0.0, highest=10.0, null=False), "the range is learnt"
    assert not {"empty", "unknown"} & found.keys()


def test_nothing_is_learnt_of_no_rows() -> None:
    assert learn_checks(ROWS.head(0), KINDS, keys=(), given={}) == {}
