"""Segments of earlier versions, Arrow streams, are read, searched, counted, checked and compacted, next to frames.

arrow_segments/ holds files as the last version that wrote such files left them: predictions-0 and labels-0 ended, and
labels-9, of a version whose labels named no model, without the mark of the end.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from trimtab.clock import ManualClock, to_micros
from trimtab.stores.predictions.arrow_rows import schema_of
from trimtab.stores.predictions.contract import LABEL_FIELDS, START, Count
from trimtab.stores.predictions.embedded.delta_archive import Archive
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.stores.predictions.kafka.topic_events import row_of
from trimtab.testing.predictions import label_rows, prediction_rows

FILES = Path(__file__).parent / "arrow_segments"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LABELS = [("a", None, 1.0), ("b", "delay", 0.0), ("c", "delay", 2.5), ("x", None, 1.0), ("y", None, 1.0)]


@pytest.fixture
def log(tmp_path: Path) -> SegmentLog:
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    return SegmentLog(tmp_path, clock=ManualClock(NOW))


def append_frames(log: SegmentLog) -> None:
    log.append(prediction_rows(["e", "b"], logged_at=[to_micros(NOW)] * 2))
    log.append_labels(label_rows(["b", "z"], received_at=[to_micros(NOW)] * 2))
    log.close()


def labels_in(log: SegmentLog) -> list[tuple[str, str | None, float | None]]:
    table = log.read_labels()[0]
    assert table.schema.equals(schema_of("labels"))
    return [(row["prediction_id"], row["model"], row["label"]) for row in table.to_pylist()]


def test_predictions_are_read_as_they_were_written(log: SegmentLog) -> None:
    rows = log.read()[0].to_pylist()
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    assert columns["prediction_id"] == ["a", "b", "ü", "c", "d"]
    assert columns["version"] == [3, -1, 2, 2**31 - 1, 3]
    assert columns["role"] == ["champion"] * 4 + ["shadow"]
    assert columns["served"] == [True, False, True, True, True]
    assert columns["entities"] == [[("carrier", "AA")], None, [("carrier", None)], [], [("carrier", "AA")]]
    assert str(columns["features"]) == "[[0.5, nan], None, [1.5], [], [0.5, 1.5]]"
    assert str(columns["score"]) == "[0.25, None, nan, -1.0, 0.25]"
    assert columns["confidence"] == [0.75, None, 0.5, None, 0.75]
    assert columns["error"] == [None, "no such row", None, "", None]
    assert [to_micros(moment) for moment in columns["logged_at"]] == [
        1_700_000_000_500_000 + n for n in (0, 1, 1, 1, 2)
    ]


def test_labels_without_a_model_are_read(log: SegmentLog) -> None:
    assert labels_in(log) == LABELS
    assert [tuple(row) for row in log.find_labels("x")] == [LABEL_FIELDS]


def test_a_cursor_goes_on_from_them_into_frames(log: SegmentLog) -> None:
    first, cursor = log.read(START, limit=2)
    append_frames(log)
    rest, end = log.read(cursor)
    assert first["prediction_id"].to_pylist() == ["a", "b", "ü", "c"]  # whole appends
    assert rest["prediction_id"].to_pylist() == ["d", "e", "b"]
    assert log.read(end)[0].num_rows == 0
    assert sorted(path.name for path in log.folder.glob("predictions-*")) == [
        "predictions-0-000001.arrows",
        "predictions-0-000002.frames",
    ]


def test_ids_are_found_and_rows_counted_in_both(log: SegmentLog) -> None:
    append_frames(log)
    assert [row["version"] for row in log.find("b")] == [-1, 3]
    assert str(log.find("ü")) == str([row for row in log.read()[0].to_pylist() if row["prediction_id"] == "ü"])
    assert [row["model"] for row in log.find_labels("b")] == ["delay", "delay"]
    assert log.count() == Count(7, 7)
    assert log.read(log.tail(3))[0]["prediction_id"].to_pylist() == ["d", "e", "b"]
    assert log.check() == []


def test_compaction_moves_them_into_the_tables(log: SegmentLog) -> None:
    append_frames(log)
    before, labels = str(log.read()[0].to_pylist()), labels_in(log)
    done = log.compact(grace_s=-1e12, keep_s=3e9)
    assert (done.segments, done.rows, done.damaged) == (5, 14, 0)
    assert list(log.folder.glob("*.arrows")) == []
    assert str(log.read()[0].to_pylist()) == before  # as text, in which NaN equals NaN
    assert labels_in(log) == labels
    assert [row["model"] for row in log.find_labels("x")] == [None]


def test_a_torn_tail_is_dropped_at_whatever_byte(log: SegmentLog) -> None:
    path = log.folder / "predictions-0-000001.arrows"
    whole, seen = path.read_bytes(), set()
    for size in (*range(0, len(whole), 40), len(whole)):
        path.write_bytes(whole[:size])
        ids = SegmentLog(log.folder).read()[0]["prediction_id"].to_pylist()
        assert ids == ["a", "b", "ü", "c", "d"][: len(ids)]
        seen.add(len(ids))
        assert SegmentLog(log.folder).check() == []
    assert seen == {0, 1, 4, 5}


def test_damage_is_left_out_told_and_set_aside(log: SegmentLog, caplog: pytest.LogCaptureFixture) -> None:
    path = log.folder / "predictions-0-000001.arrows"
    data = bytearray(path.read_bytes())
    data[data.index("ü".encode())] ^= 1
    path.write_bytes(data)
    assert log.read()[0]["prediction_id"].to_pylist() == ["a", "d"]
    assert log.find("ü") == []
    assert log.damaged == 1
    assert "damaged and left out: an unknown number of rows lost" in caplog.text
    assert log.compact(grace_s=-1e12, keep_s=3e9).damaged == 1
    assert path.with_name(path.name + ".damaged").exists()
    assert log.read()[0]["prediction_id"].to_pylist() == ["a", "d"]


def test_any_bit_of_a_message_costs_that_message_and_no_other(log: SegmentLog) -> None:
    path = log.folder / "labels-9-000001.arrows"
    whole = path.read_bytes()
    starts = [at for at in range(0, len(whole), 8) if whole[at : at + 4] == b"\xff\xff\xff\xff"]
    assert len(starts) == 3  # the schema and two labels
    for byte in range(starts[1], starts[2], 3):
        data = bytearray(whole)
        data[byte] ^= 1 << byte % 8
        path.write_bytes(data)
        assert labels_in(log) == [row for row in LABELS if row[0] != "x"], f"byte {byte}"


def test_a_damaged_schema_costs_no_row(log: SegmentLog) -> None:
    path = log.folder / "labels-9-000001.arrows"
    data = bytearray(path.read_bytes())
    data[4] ^= 1
    path.write_bytes(data)
    assert labels_in(log) == LABELS


def test_a_table_of_an_earlier_release_takes_new_segments_in(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    shutil.copy(FILES / "labels-9-000001.arrows", tmp_path)
    log = SegmentLog(tmp_path, "9", segment_rows=1, clock=clock)
    rows, cursor = log.read_labels()
    ends = np.array([log.read_labels(limit=1)[1].places[0][2], cursor.places[0][2]])
    earlier = pa.schema([field for field in schema_of("labels") if field.name not in ("model", "class_name")])
    earlier = earlier.set(1, earlier.field("label").with_nullable(False))
    Archive(tmp_path, "labels").append("9", 1, rows.select(earlier.names).cast(earlier), ends)
    assert "model" not in pa.schema(DeltaTable(tmp_path / "delta" / "labels").schema().to_arrow()).names
    for name in "abcdefghij":
        log.append_labels(label_rows([name], received_at=[to_micros(NOW)]))
    log.append_labels(label_rows(["k"], received_at=[to_micros(NOW)], label=[None], class_name=["late"]))
    log.close()
    log.compact(grace_s=-1e12, keep_s=3e9)
    clock.sleep(2 * 86_400)
    expected = [
        ("x", None, 1.0),
        ("y", None, 1.0),
        *[(name, "delay", 1.0) for name in "abcdefghij"],
        ("k", "delay", None),
    ]
    assert labels_in(log) == expected
    log.compact(grace_s=-1e12, keep_s=3e9)
    assert labels_in(SegmentLog(tmp_path)) == expected
    assert [row["class_name"] for row in log.find_labels("k")] == ["late"]


def test_a_label_in_kafka_without_a_model_is_read() -> None:
    value = b'{"prediction_id":"a","label":1.0,"known_at":"2026-03-01T12:00:00Z","received_at":"2026-03-01T12:00:00Z"}'
    table = pa.Table.from_pylist([row_of(value, "labels")], schema=schema_of("labels"))
    assert table["model"].to_pylist() == [None]
