"""Where a monitor goes on after a restart: it reads what is not judged yet, and writes what it would have written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from trimtab.clock import EPOCH, ManualClock
from trimtab.monitoring import monitor as monitor_module
from trimtab.monitoring.checkpoint import Checkpoint
from trimtab.monitoring.monitor import Monitor
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.records.monitoring import WindowReport
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import prediction_rows
from trimtab.testing.streams import DAY, FIRST_DAY, Variant, World, play
from unit.monitoring.monitor_bench import content

POLICY = parse_policy("project: flights\nimpact: { cost: {} }\ndecide: { labels_mature_after: 2d }\n")
WORLD = World(rows=50, label_hours=30.0)
DAYS = 12
VARIANTS = (Variant(version=1), Variant(version=2, role="challenger"))


class Bench:
    """A log, books of records, and monitors on them; a file between one monitor and the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = SegmentLog(folder / "log", segment_rows=70)
        self.checkpoint = folder / "monitor.json"
        self._books = (SqlMetadata(folder / f"book-{n}.db") for n in count())
        self.book = self.new_book()

    def new_book(self) -> SqlMetadata:
        return next(self._books)

    def monitor(self, *, book: SqlMetadata | None = None, checkpoint: bool = True, policy: Policy = POLICY) -> Monitor:
        place = self.checkpoint if checkpoint else None
        return Monitor(
            book or self.book, self.log, policy, lambda model, version: None, ManualClock(EPOCH), checkpoint=place
        )

    def page(self) -> Checkpoint:
        return msgspec.json.decode(self.checkpoint.read_bytes(), type=Checkpoint)

    def read_by_new_process(self) -> int:
        """Return the rows that a new monitor reads."""
        monitor = self.monitor()
        monitor.step()
        return monitor.rows


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(monitor_module, "BLOCK_ROWS", 60)  # a place may be left between two blocks
    made = Bench(tmp_path)
    yield made
    made.log.close()
    made.book.close()


def as_one_process(bench: Bench) -> dict[str, bytes]:
    """Return what one monitor writes that reads the whole log."""
    book = bench.new_book()
    bench.monitor(book=book, checkpoint=False).step()
    found = content(book)
    book.close()
    return found


def test_a_new_process_reads_what_is_not_judged_yet_and_writes_the_same(bench: Bench) -> None:
    read: list[int] = []

    def restart() -> None:
        monitor = bench.monitor()
        monitor.step()
        read.append(monitor.rows)

    play(bench.log, WORLD, range(DAYS), VARIANTS, ticks=4, after_tick=restart)
    assert content(bench.book) == as_one_process(bench)
    assert len(bench.book.find(WindowReport, stage="matured")) == 2 * (DAYS - 3)
    # then: the two days that wait for labels, the day before them that was closed with them, and the open one
    assert max(read[20:]) <= 100 * 5
    assert len(read) == 4 * DAYS


def test_models_that_are_not_as_far_are_read_from_where_they_are(bench: Bench) -> None:
    def restart() -> None:
        bench.monitor().step()

    for first in range(0, DAYS, 3):
        play(bench.log, WORLD, range(first, first + 3), model="delay", after_tick=restart)
        play(bench.log, World(seed=1, rows=20), range(first, first + 2), model="price", after_tick=restart)
    assert content(bench.book) == as_one_process(bench)
    assert set(bench.page().mark.reached) == {"delay", "price"}


def test_what_does_not_fit_the_records_is_read_from_the_beginning(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, WORLD, range(DAYS), after_tick=monitor.step)
    assert bench.page().mark.reached["delay"] > FIRST_DAY * DAY
    # when: the records are lost, as when a copy of before is put back
    book = bench.new_book()
    other = bench.monitor(book=book)
    other.step()
    assert other.rows == 50 * DAYS
    assert content(book) == content(bench.book)
    book.close()


def test_another_log_is_read_from_the_beginning(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, WORLD, range(DAYS), after_tick=monitor.step)
    bench.log.close()
    bench.log = SegmentLog(bench.folder / "other", segment_rows=70)
    play(bench.log, World(seed=3, rows=30), range(DAYS + 5), model="price")
    again = bench.monitor()
    again.step()
    assert again.rows == 30 * (DAYS + 5)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"places": 3}'])
def test_a_file_that_cannot_be_read_costs_time_and_nothing_else(bench: Bench, text: bytes) -> None:
    play(bench.log, WORLD, range(4))
    bench.checkpoint.write_bytes(text)
    monitor = bench.monitor()
    monitor.step()
    assert monitor.rows == 200
    assert content(bench.book) == as_one_process(bench)


def test_windows_of_another_size_are_read_from_the_beginning(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, WORLD, range(DAYS), after_tick=monitor.step)
    changed = parse_policy("project: flights\nimpact: { cost: {} }\ndecide: { window: 6h, labels_mature_after: 2d }\n")
    again = bench.monitor(policy=changed)
    again.step()
    assert again.rows == 50 * DAYS


def test_a_place_that_compaction_moved_is_found(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, WORLD, range(DAYS), after_tick=monitor.step)
    bench.log.close()
    bench.log.compact(grace_s=-1e12, keep_s=3e9)
    again = bench.monitor()
    again.step()
    assert 0 < again.rows <= 50 * 5


def test_a_row_from_the_future_moves_no_place(bench: Bench) -> None:
    play(bench.log, WORLD, range(2))
    ahead = (FIRST_DAY + 900) * DAY
    bench.log.append(prediction_rows(["far"], event_time=[ahead], logged_at=[(FIRST_DAY + 2) * DAY]))
    monitor = bench.monitor()
    play(bench.log, WORLD, range(2, DAYS), after_tick=monitor.step)
    assert monitor.ahead == 1
    assert bench.page().mark.reached["delay"] < (FIRST_DAY + DAYS) * DAY
    assert content(bench.book) == as_one_process(bench)


PRICE = World(seed=1, rows=20)


def days_of_both(bench: Bench, days: range, after_tick: Callable[[], object]) -> None:
    for day in days:
        play(bench.log, WORLD, [day], model="delay")
        play(bench.log, PRICE, [day], model="price", after_tick=after_tick)


def test_a_model_without_traffic_holds_nothing_up(bench: Bench) -> None:
    # given a model whose rows end, so that its last windows never mature
    read: list[int] = []
    days_of_both(bench, range(3), bench.read_by_new_process)
    play(bench.log, WORLD, range(3, 2 * DAYS), after_tick=lambda: read.append(bench.read_by_new_process()))
    # then a new process reads those windows, and what is not judged of the other model
    assert max(read[6:]) <= 3 * 70 + 5 * 50
    (behind,) = bench.page().behind
    assert set(behind.rows) == {"price"}
    assert content(bench.book) == as_one_process(bench)
    # when it has rows again, then its windows are the same as for a process that never ended
    play(bench.log, PRICE, range(2 * DAYS, 2 * DAYS + 5), model="price", after_tick=bench.read_by_new_process)
    play(bench.log, WORLD, range(2 * DAYS, 2 * DAYS + 5), after_tick=bench.read_by_new_process)
    assert content(bench.book) == as_one_process(bench)
    assert bench.read_by_new_process() <= 5 * 70 + 5 * 50


def test_several_models_without_traffic_are_each_read_from_their_own_place(bench: Bench) -> None:
    play(bench.log, PRICE, range(2), model="rent")
    days_of_both(bench, range(5), bench.read_by_new_process)
    play(bench.log, WORLD, range(5, 2 * DAYS), after_tick=bench.read_by_new_process)
    assert [sorted(each.rows) for each in bench.page().behind] == [["rent"], ["price"]]
    assert bench.read_by_new_process() < 40 + 60 + 3 * 70 + 6 * 50
    for model in ("rent", "price"):
        play(bench.log, PRICE, range(2 * DAYS, 2 * DAYS + 4), model=model, after_tick=bench.read_by_new_process)
    assert content(bench.book) == as_one_process(bench)


def test_a_model_with_rows_from_the_future_alone_holds_nothing_up(bench: Bench) -> None:
    ahead = (FIRST_DAY + 900) * DAY
    bench.log.append(prediction_rows(["far"], model=["price"], event_time=[ahead], logged_at=[FIRST_DAY * DAY]))
    play(bench.log, WORLD, range(DAYS), after_tick=bench.read_by_new_process)
    assert bench.read_by_new_process() <= 50 * 5


def test_a_model_whose_rows_are_not_there_again_is_read_from_the_beginning(bench: Bench) -> None:
    days_of_both(bench, range(3), bench.read_by_new_process)
    play(bench.log, WORLD, range(3, DAYS), after_tick=bench.read_by_new_process)
    page = bench.page()
    # when the file tells of fewer rows than there were
    short = msgspec.structs.replace(page.behind[0], rows={"price": 1})
    bench.checkpoint.write_bytes(msgspec.json.encode(msgspec.structs.replace(page, behind=(short,))))
    again = bench.monitor()
    again.step()
    assert again.rows >= 50 * DAYS + 20 * 3
    assert content(bench.book) == as_one_process(bench)


def test_rows_that_the_log_keeps_no_longer_are_not_looked_for_again(bench: Bench) -> None:
    days_of_both(bench, range(3), bench.read_by_new_process)
    play(bench.log, WORLD, range(3, DAYS), after_tick=bench.read_by_new_process)
    # when what comes first where they began is another row than then
    page = bench.page()
    mark = msgspec.structs.replace(page.behind[0].mark, first="dropped")
    behind = msgspec.structs.replace(page.behind[0], mark=mark)
    bench.checkpoint.write_bytes(msgspec.json.encode(msgspec.structs.replace(page, behind=(behind,))))
    # then only what is not judged of the other model is read
    assert bench.read_by_new_process() <= 50 * 5
    play(bench.log, PRICE, range(DAYS, DAYS + 4), model="price", after_tick=bench.read_by_new_process)
    closed = bench.book.find(WindowReport, model="price", stage="closed", oldest_first=True)
    assert [r.rows for r in closed][-3:] == [20, 20, 20]


def test_labels_that_a_model_without_traffic_cannot_claim_are_given_up(bench: Bench) -> None:
    days_of_both(bench, range(3), bench.read_by_new_process)
    play(bench.log, WORLD, range(3, 2 * DAYS), after_tick=bench.read_by_new_process)
    again = bench.monitor()
    again.step()
    assert again.labels > 50 * DAYS
    assert again.labels_kept < 50 * 5
