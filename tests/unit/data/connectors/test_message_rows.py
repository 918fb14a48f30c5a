"""Messages become rows in the types of their table, and one that gives none is refused alone, with the reason."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.connectors.message_rows import METADATA_TYPES, Message, MessageRows, RowReader
from trimtab.definitions.sources import Source
from trimtab.errors import StoreError

AT = "2026-01-01T00:00:00Z"
SOURCE = Source("payments", timestamp="at", key=["id"])
TIME = pa.timestamp("us", tz="UTC")
TABLE = pa.schema([("at", TIME), ("id", pa.int64()), ("card", pa.string()), ("amount", pa.float64())])


def reader(like: pa.Schema | None = TABLE, *, grows: bool = False, source: Source = SOURCE, **more: Any) -> RowReader:
    options = {"decode": None, "keys": {"id"}, "metadata": {}} | more
    return RowReader(source, like=like, add_columns=grows, **options)


def messages(values: Sequence[Any]) -> list[Message]:
    texts = [value if value is None or isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    return [Message("payments[0]", n, text) for n, text in enumerate(texts)]


def rows(found: MessageRows) -> list[dict[str, Any]]:
    return pl.DataFrame(found.data).to_dicts()


def test_rows_have_the_types_of_the_table() -> None:
    found = reader().rows(
        messages([{"id": 1, "card": 7, "amount": 3, "at": AT}, {"id": 2, "at": 1_767_225_600_000_000}])
    )
    assert found.data.schema.field("amount").type == pa.float64()
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert rows(found) == [
        {"at": at, "id": 1, "card": "7", "amount": 3.0},
        {"at": at, "id": 2, "card": None, "amount": None},
    ]
    assert not found.refused


def test_a_first_batch_makes_the_columns_by_what_most_messages_have() -> None:
    found = reader(None).rows(
        messages(
            [
                {"id": 1, "at": AT, "amount": 1, "ok": True, "place": {"city": "Bonn", "at": [1, 2]}},
                {"id": 2, "at": AT, "amount": 2.5, "ok": "yes"},
                {"id": 3, "at": AT, "amount": None, "ok": False, "late": None},
            ]
        )
    )
    types = {field.name: str(field.type) for field in found.data.schema}
    assert types["amount"] == "double"
    assert types["ok"] == "bool"
    assert types["place__city"] == types["place__at"] == types["late"] == "string"
    assert [row["place__at"] for row in rows(found)] == ["[1,2]", None]
    (refused,) = found.refused
    assert refused.number == 1
    assert refused.reason == "ok: is the text 'yes'; expected boolean"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{not json", "cannot be read as JSON"),
        (b"[1]", "is a list; expected an object"),
        (b'"text"', "is the text 'text'; expected an object"),
        (b"\xff\xfe", "cannot be read as JSON"),
        ({"id": "seven", "at": AT}, "id: is the text 'seven'; expected integer"),
        ({"id": True, "at": AT}, "id: is the boolean true; expected integer"),
        ({"id": 1.5, "at": AT}, "the key 1.5 is a double"),
        ({"id": 2**70, "at": AT}, "beyond 64 bits; send it as text"),
        ({"id": 1, "amount": "3", "at": AT}, "amount: is the text '3'; expected number"),
        ({"id": 1, "at": "yesterday"}, "'yesterday' is not a time"),
        ({"id": 1, "at": AT, "cards": "x"}, "the table has no column 'cards'. Did you mean 'card'"),
    ],
)
def test_a_message_that_gives_no_row_is_refused_alone(value: Any, reason: str) -> None:
    good = {"id": 1, "at": AT, "amount": 1.0, "card": "a"}
    found = reader().rows(messages([good, value, good]))
    assert [row["id"] for row in rows(found)] == [1, 1]
    assert [origin.number for origin in found.origins] == [0, 2]
    (refused,) = found.refused
    assert (refused.place, refused.number) == ("payments[0]", 1)
    assert reason in refused.reason
    assert isinstance(json.loads(refused.text), dict)


def test_new_fields_become_columns_where_tables_may_grow() -> None:
    values = [{"id": 1, "at": AT}, {"id": 2, "at": AT, "channel": "web"}, {"id": 3, "at": AT, "geo": {"lat": 1.5}}]
    found = reader(grows=True).rows(messages(values))
    assert [(row["channel"], row["geo__lat"]) for row in rows(found)] == [(None, None), ("web", None), (None, 1.5)]
    assert not found.refused


def test_an_integer_column_gets_wider_with_its_first_fraction_unless_dtypes_fix_it() -> None:
    table = pa.schema([("at", TIME), ("id", pa.int64()), ("n", pa.int64())])
    values = messages([{"id": 1, "n": 2, "at": AT}, {"id": 2, "n": 2.5, "at": AT}])
    assert [row["n"] for row in rows(reader(table).rows(values))] == [2.0, 2.5]
    fixed = reader(table, source=Source("payments", timestamp="at", dtypes={"n": "integer"})).rows(values)
    assert [row["n"] for row in rows(fixed)] == [2]
    assert "n: is the number 2.5; expected integer" in fixed.refused[0].reason


def test_personal_data_is_in_no_reason() -> None:
    source = Source("payments", timestamp="at", key=["id"], pii=["card", "amount", "at"])
    values = [{"id": 1, "at": AT, "card": ["4111"], "amount": 1.0}, {"id": 2, "at": AT, "amount": "4111"}]
    found = reader(source=source).rows(messages([*values, {"id": 3, "at": "4111 1111"}, {"id": 2**70, "at": AT}]))
    assert [origin.number for origin in found.origins] == [0]
    assert [each.number for each in found.refused] == [1, 2, 3]
    assert not any("4111" in each.reason for each in found.refused)
    assert "amount: is a value that is personal data, not shown; expected number" in found.refused[0].reason


def test_times_without_a_zone_are_counted() -> None:
    read = reader()
    read.rows(messages([{"id": 1, "at": "2026-01-01T00:00:00"}, {"id": 2, "at": AT}]))
    read.rows(messages([{"id": 3, "at": "2026-01-01 00:00"}]))
    assert read.naive == {"at": 2}


def test_metadata_columns_come_from_outside_of_the_value() -> None:
    metadata = {"sent": METADATA_TYPES["timestamp"], "key": pa.string()}
    given_ = [
        Message("t[0]", 4, b'{"id": 1, "at": "2026-01-01", "key": "in the value"}', {"sent": 1_000_000, "key": "k"}),
        Message("t[0]", 5, None, {"sent": None, "key": None}),
    ]
    found = rows(reader(None, metadata=metadata).rows(given_))
    assert found[0]["sent"] == dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)
    assert [row["key"] for row in found] == ["k", None]


def test_a_registry_that_cannot_be_reached_refuses_no_message() -> None:
    def decode(value: bytes) -> dict[str, Any]:
        raise StoreError("registry away")

    with pytest.raises(StoreError, match="registry away"):
        reader(decode=decode).rows(messages([{"id": 1}]))


NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
FIELD = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.just([1]), st.just(AT), st.integers(0, 9))
FIELDS = st.lists(st.dictionaries(st.sampled_from(["id", "at", "card", "amount", "x"]), FIELD), max_size=8)


@given(FIELDS, st.booleans())
def test_each_message_is_a_row_or_is_refused(values: list[dict[str, Any]], has_table: bool) -> None:
    found = reader(TABLE if has_table else None, grows=True).rows(messages(values))
    numbers = sorted([*(origin.number for origin in found.origins), *(each.number for each in found.refused)])
    assert numbers == list(range(len(values)))
    assert found.data.num_rows == len(found.origins)


@given(FIELDS)
def test_a_message_gives_the_same_row_whatever_comes_with_it(values: list[dict[str, Any]]) -> None:
    together = reader().rows(messages(values))
    alone = [reader().rows([message]) for message in messages(values)]
    assert rows(together) == [row for one in alone for row in rows(one)]
    refused = {each.number: each.reason for one in alone for each in one.refused}
    assert {each.number: each.reason for each in together.refused} == refused
