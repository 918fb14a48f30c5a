"""Labels that were written before they named a model are read, in segments and in tables, beside new ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from trimtab.clock import ManualClock, to_micros
from trimtab.stores.predictions import LABEL_FIELDS, LABELS, START, schemas, templates
from trimtab.stores.predictions.kafka_events import row_of
from trimtab.stores.predictions.messages import MessageWriter
from trimtab.stores.predictions.scanning import EARLIER, TEMPLATES
from trimtab.stores.predictions.segments import SegmentLog
from trimtab.testing.predictions import label_rows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def earlier(folder: Path, number: int, *ids: str) -> Path:
    """Write a segment as an earlier version did, a message an id."""
    writer = MessageWriter(templates.EARLIER_LABELS)
    columns = label_rows(ids, received_at=[to_micros(NOW)] * len(ids))
    messages = [
        writer.encode({name: [columns[name][n]] for name in LABEL_FIELDS if name != "model"})[0]
        for n in range(len(ids))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"labels-0-{number:06d}.arrows"
    path.write_bytes(b"".join([templates.EARLIER_LABELS.schema_message, *messages]))
    return path


def rows_in(log: SegmentLog) -> list[tuple[str, str | None]]:
    table = log.read_labels()[0]
    assert table.schema.equals(LABELS)
    return list(zip(table["prediction_id"].to_pylist(), table["model"].to_pylist(), strict=True))


@pytest.fixture
def log(tmp_path: Path) -> SegmentLog:
    earlier(tmp_path, 1, "a", "b")
    made = SegmentLog(tmp_path, clock=ManualClock(NOW))
    made.append_labels(label_rows(["b", "c"], received_at=[to_micros(NOW)] * 2))
    made.close()
    return made


EXPECTED = [("a", None), ("b", None), ("b", "delay"), ("c", "delay")]


def test_segments_of_both_kinds_are_read_and_searched(log: SegmentLog) -> None:
    first, cursor = log.read_labels(START, limit=1)
    assert first["prediction_id"].to_pylist() == ["a"]
    assert log.read_labels(cursor)[0]["model"].to_pylist() == [None, "delay", "delay"]
    assert rows_in(log) == EXPECTED
    assert [row["model"] for row in log.find_labels("b")] == [None, "delay"]
    assert [tuple(row) for row in log.find_labels("b")] == [LABEL_FIELDS] * 2


def test_compaction_keeps_them(log: SegmentLog) -> None:
    log.compact(grace_s=-1e12, keep_s=3e9)
    assert list(log.folder.glob("*.arrows")) == []
    assert rows_in(log) == EXPECTED
    assert [row["model"] for row in log.find_labels("b")] == [None, "delay"]


def test_a_table_of_an_earlier_version_takes_new_segments_in_and_merges_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a Delta table without the column."""
    earlier(tmp_path, 1, "a", "b")
    clock = ManualClock(NOW)
    with monkeypatch.context() as before:
        before.setitem(schemas.SCHEMAS, "labels", schemas.EARLIER["labels"])
        SegmentLog(tmp_path, clock=clock).compact(grace_s=-1e12, keep_s=3e9)
    assert "model" not in DeltaTable(tmp_path / "delta" / "labels").schema().to_arrow().names
    log = SegmentLog(tmp_path, segment_rows=1, clock=clock)
    for name in "bcdefghij":
        log.append_labels(label_rows([name], received_at=[to_micros(NOW)]))
    log.close()
    log.compact(grace_s=-1e12, keep_s=3e9)
    clock.sleep(2 * 86_400)
    assert rows_in(log) == [*EXPECTED, *[(name, "delay") for name in "defghij"]]
    log.compact(grace_s=-1e12, keep_s=3e9)
    assert len(list((tmp_path / "delta" / "labels").rglob("*.parquet"))) == 1
    assert rows_in(SegmentLog(tmp_path)) == [*EXPECTED, *[(name, "delay") for name in "defghij"]]


def test_damage_in_them_is_left_out(tmp_path: Path) -> None:
    path = earlier(tmp_path, 1, "a", "b", "c")
    data = bytearray(path.read_bytes())
    second = data.index(b"b", data.index(b"a", len(templates.EARLIER_LABELS.schema_message) + 368) + 1)
    data[second] ^= 1
    path.write_bytes(data)
    log = SegmentLog(tmp_path)
    assert rows_in(log) == [("a", None), ("c", None)]
    assert log.damaged == 1


def test_messages_of_different_versions_are_told_apart_by_the_length_of_their_metadata() -> None:
    for kind, template in TEMPLATES.items():
        lengths = [len(each.head) for each in (template, *EARLIER[kind])]
        assert len({*lengths}) == len(lengths)


def test_a_label_in_kafka_without_a_model_is_read() -> None:
    value = b'{"prediction_id":"a","label":1.0,"known_at":"2026-03-01T12:00:00Z","received_at":"2026-03-01T12:00:00Z"}'
    table = pa.Table.from_pylist([row_of(value, "labels")], schema=LABELS)
    assert table["model"].to_pylist() == [None]
