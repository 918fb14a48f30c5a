"""Sets of examples are read from JSON lines, CSV and Parquet alike, and errors say where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trimtab.definitions.llm.evaluators import EvalSet
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError
from trimtab.llm.evaluate.items import read_items

ROWS = [
    {"ticket": "I was charged twice", "queue": "billing", "lang": "en", "customer": "c1"},
    {"ticket": "Ich kann mich nicht\nanmelden", "queue": "access", "lang": "de", "customer": "c2"},
    {"ticket": 'He said "no", then left', "queue": "other", "lang": "en", "customer": "c1"},
]
TICKETS: dict[str, Any] = {
    "inputs": ["ticket"],
    "expected": "queue",
    "tags": ["lang"],
    "cluster": "customer",
}


def test_the_three_kinds_of_files_give_the_same_items(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS)
    frame.write_ndjson(tmp_path / "tickets.jsonl")
    frame.write_csv(tmp_path / "tickets.csv")
    frame.write_parquet(tmp_path / "tickets.parquet")
    frame.write_csv(tmp_path / "semicolons.csv", separator=";")
    source = FileSource("semicolons", "semicolons.csv", timestamp="at", separator=";")
    sources: list[str | FileSource] = ["tickets.jsonl", "tickets.csv", "tickets.parquet", source]
    found = [read_items(EvalSet("tickets", source=each, **TICKETS), tmp_path) for each in sources]
    assert [each.items for each in found] == [found[0].items] * 4
    assert {each.hash for each in found} == {found[0].hash}
    assert found[0].tags == {"lang": {"de": 1, "en": 2}}
    assert found[0].clusters == ("=c1", "=c2", "=c1")
    assert found[0].items[1].inputs == {"ticket": "Ich kann mich nicht\nanmelden"}
    assert found[1].places == ("tickets.csv:2", "tickets.csv:3", "tickets.csv:5")


def test_an_item_keeps_its_id_when_its_tags_change_and_the_set_gets_another_hash(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_ndjson(tmp_path / "a.jsonl")
    pl.DataFrame([row | {"lang": "fr"} for row in ROWS]).write_ndjson(tmp_path / "b.jsonl")
    a, b = (read_items(EvalSet("tickets", source=name, **TICKETS), tmp_path) for name in ("a.jsonl", "b.jsonl"))
    assert [item.id for item in a.items] == [item.id for item in b.items]
    assert a.hash != b.hash


def test_equal_rows_count_once(tmp_path: Path) -> None:
    pl.DataFrame([*ROWS, ROWS[0]]).write_ndjson(tmp_path / "tickets.jsonl")
    found = read_items(EvalSet("tickets", source="tickets.jsonl", **TICKETS), tmp_path)
    assert (len(found.items), found.repeated) == (3, 1)


def test_whole_messages_are_inputs_too(tmp_path: Path) -> None:
    said = '[{"role": "user", "content": "hello"}]'
    (tmp_path / "chats.jsonl").write_text(f'{{"messages": {said}, "expected": "hi"}}\n')
    (tmp_path / "chats.csv").write_text('messages,expected\n"' + said.replace('"', '""') + '",hi\n')
    for name in ("chats.jsonl", "chats.csv"):
        (item,) = read_items(EvalSet("chats", source=name), tmp_path).items
        assert item.inputs == {"messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("t.jsonl", '{"ticket": "a", "queue": "b"}\n\n{"ticket": \n', "t.jsonl:3: no JSON"),
        (
            "t.jsonl",
            '{"Ticket": "a", "queue": "b"}\n',
            "t.jsonl:1: there is no column 'ticket'. Did you mean 'Ticket'?",
        ),
        ("t.jsonl", '["a"]\n', "t.jsonl:1: expected an object"),
        ("t.jsonl", "", "has no rows"),
        ("t.jsonl", b'{"ticket": "a", "queue": "b"}\n{"ticket": "\xff"}\n', "t.jsonl:2: not utf-8"),
        ("t.csv", "ticket,queue\na,b\nc\n", "t.csv:3: 1 value; the header has 2"),
        ("t.csv", "ticket,ticket\na,b\n", "t.csv:1: two columns are named 'ticket'"),
        ("t.csv", 'ticket,queue\n"a"x,b\n', "t.csv:2:"),
        ("t.parquet", b"PAR1", "t.parquet: cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str | bytes, told: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as refused:
        read_items(EvalSet("t", source=name, inputs=["ticket"], expected="queue"), tmp_path)
    assert told in str(refused.value)


def test_a_wrong_path_and_wrong_messages_are_named(tmp_path: Path) -> None:
    (tmp_path / "tickets.jsonl").write_text('{"messages": [{"role": "usr", "content": "hello"}], "expected": ""}\n')
    with pytest.raises(DataError, match=r"Did you mean 'tickets\.jsonl'"):
        read_items(EvalSet("tickets", source="ticket.jsonl"), tmp_path)
    with pytest.raises(
        DataError, match=r"tickets.jsonl:1: column 'messages': message 1: role 'usr'. Did you mean 'user'"
    ):
        read_items(EvalSet("tickets", source="tickets.jsonl"), tmp_path)
