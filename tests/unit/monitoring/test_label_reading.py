"""After a restart the label log is read from where labels are still needed, and no label is given up twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.monitoring import label_reading
from trimtab.monitoring import monitor as monitor_module
from trimtab.testing.predictions import label_rows
from trimtab.testing.streams import DAY, FIRST_DAY, World, play
from unit.monitoring.monitor_bench import content
from unit.monitoring.test_checkpoint import Bench, as_one_process

WORLD = World(rows=50, label_hours=30.0)
QUICK = World(rows=50, label_hours=1.0)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(monitor_module, "BLOCK_ROWS", 60)
    made = Bench(tmp_path)
    yield made
    made.log.close()
    made.book.close()


def stray(bench: Bench, *ids: str, day: float) -> None:
    """Log labels of predictions that nobody knows."""
    known = [int((FIRST_DAY + day) * DAY)] * len(ids)
    bench.log.append_labels(label_rows(list(ids), known_at=known, model=["delay"] * len(ids)))


def test_labels_of_judged_windows_are_neither_read_again_nor_counted_as_unmatched(bench: Bench) -> None:
    # given a log of twelve days with two labels that belong to nobody, read by one process
    monitor = bench.monitor()
    play(bench.log, WORLD, range(3), after_tick=monitor.step)
    stray(bench, "x", "y", day=2.5)
    play(bench.log, WORLD, range(3, 12), after_tick=monitor.step)
    given_up = monitor.unmatched_labels
    assert given_up >= 2
    # when other processes go on
    for _ in range(3):
        again = bench.monitor()
        again.step()
        # then the count is the same, and only the labels of the last days are read
        assert (again.unmatched_labels, again.labels) == (given_up, monitor.labels)
        assert again.labels_read < 50 * 5
    assert content(bench.book) == as_one_process(bench)


def test_a_label_that_waited_when_the_process_ended_is_given_up_once_by_a_later_one(bench: Bench) -> None:
    play(bench.log, QUICK, range(8))
    bench.monitor().step()
    stray(bench, "early", day=7.9)
    bench.monitor().step()
    play(bench.log, QUICK, range(8, 13), after_tick=lambda: bench.monitor().step())
    last = bench.monitor()
    last.step()
    assert last.unmatched_labels == 1


def test_a_lost_checkpoint_does_not_make_judged_labels_unmatched(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUICK, range(10), after_tick=monitor.step)
    bench.checkpoint.unlink()
    again = bench.monitor()
    again.step()
    assert again.unmatched_labels == 0
    assert content(bench.book) == as_one_process(bench)


@pytest.mark.parametrize("most", [0, 3, 1000])
def test_old_labels_that_still_wait_hold_nothing_up(bench: Bench, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    # given a label that is known in the far future, and a model whose last windows never mature
    monkeypatch.setattr(label_reading, "MOST_KEPT", most)
    play(bench.log, World(seed=1, rows=20, label_hours=1.0), range(2), model="price")
    stray(bench, "far", day=400)
    play(bench.log, QUICK, range(2, 14), after_tick=lambda: bench.monitor().step())
    again = bench.monitor()
    again.step()
    assert again.unmatched_labels == 0
    assert (again.labels_read < 50 * 5) == (most == 1000)
    # when the other model has rows again, its window is judged on the labels of then
    play(bench.log, World(seed=1, rows=20), range(14, 18), model="price", after_tick=lambda: bench.monitor().step())
    assert content(bench.book) == as_one_process(bench)
