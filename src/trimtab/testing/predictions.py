"""The conformance suite of the prediction log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import DataError, StoreError
from trimtab.stores.predictions.contract import START, Count, Predictions


def prediction_rows(ids: Sequence[str], **changed: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Return columns for `append`: one row an id, whole columns replaced by `changed`."""
    rows = len(ids)
    columns: dict[str, Sequence[Any]] = {
        "prediction_id": list(ids),
        "model": ["delay"] * rows,
        "version": [3] * rows,
        "role": ["champion"] * rows,
        "served": [True] * rows,
        "route": ["split"] * rows,
        "revision": [7] * rows,
        "event_time": [1_700_000_000_000_000 + n for n in range(rows)],
        "logged_at": [1_700_000_000_500_000] * rows,
        "entities": [[("carrier", "AA")]] * rows,
        "features": [[0.5, 1.5]] * rows,
        "score": [0.25] * rows,
        "confidence": [0.75] * rows,
        "latency_us": [120] * rows,
        "cpu_us": [80] * rows,
        "error": [None] * rows,
    }
    return columns | changed


def label_rows(ids: Sequence[str], **changed: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Return columns for `append_labels`."""
    rows = len(ids)
    columns: dict[str, Sequence[Any]] = {
        "prediction_id": list(ids),
        "model": ["delay"] * rows,
        "label": [1.0] * rows,
        "known_at": [1_700_000_001_000_000] * rows,
        "received_at": [1_700_000_002_000_000] * rows,
    }
    return columns | changed


def turn_rows(ids: Sequence[str], **changed: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Return columns for `append_turns`."""
    rows = len(ids)
    columns: dict[str, Sequence[Any]] = {
        "prediction_id": list(ids),
        "model": ["triage"] * rows,
        "version": [2] * rows,
        "at": [1_700_000_000_500_000] * rows,
        "purpose": ["serve"] * rows,
        "endpoint": ["openai"] * rows,
        "upstream_model": ["gpt-4o-mini"] * rows,
        "model_reported": [None] * rows,
        "input_tokens": [100] * rows,
        "cached_tokens": [0] * rows,
        "cache_write_tokens": [0] * rows,
        "output_tokens": [20] * rows,
        "reasoning_tokens": [0] * rows,
        "usage": ["reported"] * rows,
        "cost_pico": [27_000_000] * rows,
        "price_version": [None] * rows,
        "first_token_us": [250_000] * rows,
        "finish_reason": ["stop"] * rows,
        "stream": [False] * rows,
        "format_ok": [True] * rows,
        "refused": [False] * rows,
        "tool_calls": [0] * rows,
        "cache_hit": [False] * rows,
        "attempts": [1] * rows,
        "fell_back_from": [None] * rows,
        "document_ids": [None] * rows,
    }
    return columns | changed


def content_rows(ids: Sequence[str], **changed: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Return columns for `append_contents`: the answer of each id."""
    rows = len(ids)
    columns: dict[str, Sequence[Any]] = {
        "prediction_id": list(ids),
        "model": ["triage"] * rows,
        "version": [2] * rows,
        "at": [1_700_000_000_500_000] * rows,
        "part": ["answer"] * rows,
        "mode": ["masked"] * rows,
        "text": [f"answer {name} to <EMAIL_1>" for name in ids],
        "chars": [20] * rows,
        "key_id": [None] * rows,
        "user": [None] * rows,
        "conversation": [None] * rows,
    }
    return columns | changed


class PredictionsConformance:
    """The tests of the contract of the prediction log. Subclass it and define `open`.

    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.stores.predictions.embedded.segment_log import SegmentLog
    >>> class TestSegments(PredictionsConformance):
    ...     def open(self, folder):
    ...         return SegmentLog(folder)
    >>> with TemporaryDirectory() as folder:
    ...     TestSegments().test_an_empty_log_reads_as_no_rows(Path(folder))
    """

    locks_names = True
    """A second process that writes under the same name is refused."""

    def open(self, folder: Path) -> Predictions:
        """Open the log of a folder. A second call reads what the first log wrote."""
        raise NotImplementedError

    def test_rows_come_back_as_they_were_written(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append(prediction_rows(["a", "b"]))
        log.append(prediction_rows(["c"], entities=[None], features=[None], score=[None], error=["no such row"]))
        log.sync()
        rows = log.read()[0].to_pylist()
        log.close()
        assert [row["prediction_id"] for row in rows] == ["a", "b", "c"]
        assert rows[0]["entities"] == [("carrier", "AA")]
        assert rows[0]["features"] == [0.5, 1.5]
        assert rows[1]["event_time"].timestamp() == 1_700_000_000.000001
        assert (rows[2]["features"], rows[2]["score"], rows[2]["error"]) == (None, None, "no such row")

    def test_a_whole_store_has_no_faults(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append(prediction_rows(["a", "b"]))
        log.append_labels(label_rows(["a"]))
        log.sync()
        found = list(log.check())
        log.close()
        assert found == []

    def test_labels_come_back_as_they_were_written(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append_labels(label_rows(["a", "b"], label=[0.0, 1.0]))
        log.sync()
        rows = log.read_labels()[0].to_pylist()
        log.close()
        assert [(row["prediction_id"], row["label"]) for row in rows] == [("a", 0.0), ("b", 1.0)]

    def test_labels_keep_the_model_that_they_name(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append_labels(label_rows(["a", "a", "a"], model=["delay", "price", None]))
        log.sync()
        read, found = log.read_labels()[0]["model"].to_pylist(), log.find_labels("a")
        log.close()
        assert read == [row["model"] for row in found] == ["delay", "price", None]

    def test_an_empty_log_reads_as_no_rows(self, tmp_path: Path) -> None:
        table, cursor = self.open(tmp_path).read()
        assert table.num_rows == 0
        assert cursor == START

    def test_a_cursor_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        log, reader = self.open(tmp_path), self.open(tmp_path)
        log.append(prediction_rows(["a"]))
        log.sync()
        first, cursor = reader.read()
        log.append(prediction_rows(["b"]))
        log.sync()
        second, cursor = reader.read(cursor)
        third, cursor = reader.read(cursor)
        log.close()
        assert [t["prediction_id"].to_pylist() for t in (first, second, third)] == [["a"], ["b"], []]

    def test_limited_reads_give_every_row_once(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        ids = [str(n) for n in range(25)]
        for start in range(0, 25, 2):
            log.append(prediction_rows(ids[start : start + 2]))
        log.sync()
        read: list[str] = []
        table, cursor = log.read(limit=3)
        while table.num_rows:
            assert table.num_rows <= 4  # whole appends: about the limit
            read += table["prediction_id"].to_pylist()
            table, cursor = log.read(cursor, limit=3)
        log.close()
        assert read == ids

    def test_what_is_appended_is_read_before_the_log_is_closed(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append(prediction_rows(["a"]))
        log.sync()
        assert self.open(tmp_path).read()[0].num_rows == 1
        log.close()

    def test_a_log_is_written_on_after_it_was_opened_again(self, tmp_path: Path) -> None:
        for name in "abc":
            log = self.open(tmp_path)
            log.append(prediction_rows([name]))
            log.close()
        assert self.open(tmp_path).read()[0]["prediction_id"].to_pylist() == ["a", "b", "c"]

    def test_an_id_is_found_with_its_labels(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append(prediction_rows(["a", "b"]))
        log.append(prediction_rows(["b", "c"], version=[4, 4], features=[None, [float("nan")]]))
        log.append_labels(label_rows(["b", "a", "b"], label=[1.0, 0.0, 0.0]))
        log.sync()
        rows, labels, none = log.find("b"), log.find_labels("b"), log.find("d")
        expected = [row for row in log.read()[0].to_pylist() if row["prediction_id"] == "b"]
        log.close()
        assert rows == expected
        assert [(row["version"], row["features"]) for row in rows] == [(3, [0.5, 1.5]), (4, None)]
        assert [row["label"] for row in labels] == [1.0, 0.0]
        assert none == []

    def test_the_newest_rows_are_read_and_all_are_counted(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        assert (log.count(), log.read(log.tail(5))[0].num_rows) == (Count(0, 0), 0)
        ids = [f"{n:02}" for n in range(20)]
        for start in range(0, 20, 4):
            log.append(prediction_rows(ids[start : start + 4]))
        log.append_labels(label_rows(["03", "04"]))
        log.sync()
        newest = {rows: log.read(log.tail(rows))[0]["prediction_id"].to_pylist() for rows in (1, 4, 5, 20, 99)}
        count = log.count()
        log.close()
        assert {rows: found[-rows:] for rows, found in newest.items()} == {rows: ids[-rows:] for rows in newest}
        assert len(newest[1]) <= 4  # whole appends
        assert count == Count(20, 2)

    def test_classes_are_kept_beside_numbers(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append(prediction_rows(["a"]))
        log.append(prediction_rows(["b", "c"], probabilities=[[0.1, 0.7, 0.2], None], typed=[None, b"\x91\x01"]))
        log.append_labels(label_rows(["a"]))
        log.append_labels(label_rows(["b", "c"], label=[None, 0.0], class_name=["late", None]))
        log.sync()
        shares = log.read()[0]["probabilities"].to_pylist()
        typed = log.read()[0]["typed"].to_pylist()
        labels = log.read_labels()[0]
        found = log.find_labels("b")
        log.compact(grace_s=-1e9, keep_s=3e9)
        again = log.read_labels()[0]
        kept = log.read()[0]["typed"].to_pylist()
        log.close()
        assert shares == [None, [0.1, 0.7, 0.2], None]
        assert typed == kept == [None, None, b"\x91\x01"]
        assert labels["label"].to_pylist() == [1.0, None, 0.0]
        assert labels["class_name"].to_pylist() == [None, "late", None]
        assert [(row["label"], row["class_name"]) for row in found] == [(None, "late")]
        assert again.equals(labels)

    def test_labels_of_turns_say_what_they_are(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append_labels(label_rows(["a"]))
        log.append_labels(label_rows(["b"], name=["thumbs"], source=["user"], rater=["4f"]))
        log.sync()
        rows = log.read_labels()[0].to_pylist()
        log.close()
        assert [(row["name"], row["source"], row["rater"]) for row in rows] == [
            (None, None, None),
            ("thumbs", "user", "4f"),
        ]

    def test_turns_come_back_as_they_were_written(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append_turns(turn_rows(["a", "b"], document_ids=[["doc-1", "ö"], []], cost_pico=[2**40, 0]))
        log.append_turns(turn_rows(["c"], first_token_us=[None], format_ok=[None], model_reported=["m"], stream=[True]))
        log.sync()
        read, cursor = log.read_turns()
        log.compact(grace_s=-1e9, keep_s=3e9)
        kept, found = log.read_turns()[0], log.find_turns("b")
        count, after = log.count(), log.read_turns(cursor)[0].num_rows
        log.close()
        rows = read.to_pylist()
        assert [row["document_ids"] for row in rows] == [["doc-1", "ö"], [], None]
        assert [row["cost_pico"] for row in rows] == [2**40, 0, 27_000_000]
        assert [row["first_token_us"] for row in rows] == [250_000, 250_000, None]
        assert [(row["format_ok"], row["model_reported"], row["stream"]) for row in rows] == [
            *[(True, None, False)] * 2,
            (None, "m", True),
        ]
        assert kept.equals(read)
        assert found == [rows[1]]
        assert (count, after) == (Count(turns=3), 0)

    def test_contents_are_found_by_id(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        log.append_contents(content_rows(["a", "a", "aa"], part=["messages.0.user", "answer", "answer"]))
        log.append_contents(content_rows(["b"], mode=["hash"], text=["77" * 32], key_id=["k1"], user=["u1"]))
        log.sync()
        read = log.read_contents()[0].to_pylist()
        found = log.find_contents("a")
        log.close()
        assert [row["part"] for row in found] == ["messages.0.user", "answer"]
        assert found == read[:2]
        assert (read[3]["mode"], read[3]["text"], read[3]["key_id"]) == ("hash", "77" * 32, "k1")

    def test_erased_contents_are_found_no_more_and_their_turns_stay(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        names, users = list("abcd"), ["anna", "o'hara", None, "anna"]
        log.append_turns(turn_rows(names))
        for name, user in zip(names, users, strict=True):
            log.append_contents(content_rows([name], user=[user], conversation=[f"c-{user}"]))
        log.sync()
        cursor = log.read_contents(limit=1)[1]
        erased = [log.erase_contents("user", "anna"), log.erase_contents("conversation", "c-o'hara")]
        assert [len(log.find_contents(name)) for name in "ac"] == [0, 1]
        assert log.read_contents(cursor, limit=1)[0]["prediction_id"].to_pylist() == ["c"]
        log.compact(grace_s=-1e9, keep_s=3e9)
        log.append_contents(content_rows(["e"], user=["anna"], at=[4_000_000_000_000_000]))  # after the erasure
        log.sync()
        read, turns = log.read_contents()[0], log.read_turns()[0]
        log.close()
        assert erased == [2, 1]
        assert read["prediction_id"].to_pylist() == ["c", "e"]
        assert turns["prediction_id"].to_pylist() == names

    def test_compaction_changes_nothing_for_readers(self, tmp_path: Path) -> None:
        log = self.open(tmp_path)
        for name in "abcde":
            log.append(prediction_rows([name], score=[None if name == "c" else 0.5], features=[[1.5, 0.1]]))
        log.sync()
        before, cursor = log.read(limit=2)
        everything = log.read()[0]
        log.compact(grace_s=-1e9, keep_s=3e9)
        log.compact(grace_s=-1e9, keep_s=3e9)
        rest, again = log.read(cursor)[0], log.read()[0]
        log.close()
        assert [*before["prediction_id"].to_pylist(), *rest["prediction_id"].to_pylist()] == list("abcde")
        assert again.equals(everything)

    def test_a_second_writer_is_refused(self, tmp_path: Path) -> None:
        if not self.locks_names:
            pytest.skip("this backend has no lock for a writer's name")
        log = self.open(tmp_path)
        log.append(prediction_rows([]))
        with pytest.raises(StoreError, match="one writer"):
            self.open(tmp_path).append(prediction_rows(["a"]))
        log.close()
        second = self.open(tmp_path)
        second.append(prediction_rows(["a"]))
        second.close()

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"score": ["high"]}, "score"),
            ({"prediction_id": [None]}, "prediction_id"),
            ({"version": [None]}, "version"),
            ({"served": [None]}, "served"),
            ({"route": [None]}, "route"),
            ({"version": [2**40]}, "version"),
            ({"score": [0.5, 0.6]}, "score"),
            ({"scores": [0.5]}, "scores"),
        ],
    )
    def test_rows_that_do_not_fit_are_refused_whole(
        self, tmp_path: Path, columns: dict[str, Sequence[Any]], message: str
    ) -> None:
        log = self.open(tmp_path)
        with pytest.raises(DataError, match=message):
            log.append(prediction_rows(["a"], **columns))
        assert log.read()[0].num_rows == 0
        log.close()
