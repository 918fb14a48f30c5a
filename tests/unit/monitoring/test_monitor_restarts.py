"""Looks, crashes and restarts leave the same records, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from trimtab.records.record import Record
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.predictions.contract import Predictions
from trimtab.testing.streams import World, play
from unit.monitoring.monitor_bench import DAYS, VARIANTS, Bench


def write(log: Predictions, after_tick: Callable[[], object] = lambda: None) -> None:
    """Twelve days of life: a drift, a small day, and a challenger from that day on."""
    world = World(seed=5, label_hours=9.0, shift={2: 0.3})
    play(log, world, range(DAYS, DAYS + 5), ticks=6, after_tick=after_tick)
    play(log, World(seed=5, rows=90), [DAYS + 5], VARIANTS, ticks=6, after_tick=after_tick)
    play(log, world, range(DAYS + 6, DAYS + 12), VARIANTS, ticks=6, after_tick=after_tick)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a monitor writes that looks at every tick."""
    made = Bench(tmp_path_factory.mktemp("undisturbed"))
    monitor = made.monitor()
    write(made.log, monitor.step)
    content = made.content()
    made.close()
    assert len([id_ for id_ in content if id_.endswith("/closed")]) == 10 + 5
    assert len([id_ for id_ in content if id_.endswith("/matured")]) > 10
    return content


def test_looking_once_at_the_end_gives_the_same_records(bench: Bench, undisturbed: dict[str, bytes]) -> None:
    write(bench.log)
    bench.monitor().step()
    assert bench.content() == undisturbed


def test_a_new_process_at_every_look_gives_the_same_records(bench: Bench, undisturbed: dict[str, bytes]) -> None:
    ticks = 0

    def step() -> None:
        nonlocal ticks
        ticks += 1
        if ticks % 5 == 0:
            bench.monitor().step()

    write(bench.log, step)
    bench.monitor().step()
    assert bench.content() == undisturbed


class Dying:
    """A book of records in front of which the process dies: before the n-th write, or just after it."""

    def __init__(self, book: Metadata, *, at: int, after: bool) -> None:
        self._book, self._left, self._after = book, at, after

    def put(self, *records: Record) -> None:
        self._left -= 1
        if self._left == 0:
            if self._after:
                self._book.put(*records)
            raise KeyboardInterrupt
        self._book.put(*records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 7, 12, 19])
def test_a_process_that_dies_at_a_write_leaves_nothing_undone_and_nothing_twice(
    bench: Bench, undisturbed: dict[str, bytes], at: int, after: bool
) -> None:
    monitor = bench.monitor(book=Dying(bench.book, at=at, after=after))
    dead = False

    def step() -> None:
        nonlocal monitor, dead
        try:
            monitor.step()
        except KeyboardInterrupt:
            dead, monitor = True, bench.monitor()

    write(bench.log, step)
    monitor.step()
    assert dead
    assert bench.content() == undisturbed


def test_a_store_that_fails_once_is_written_to_by_the_next_step(bench: Bench, undisturbed: dict[str, bytes]) -> None:
    monitor = bench.monitor(book=Dying(bench.book, at=4, after=False))
    failed: Sequence[BaseException] = []

    def step() -> None:
        nonlocal failed
        try:
            monitor.step()
        except KeyboardInterrupt as error:
            failed = [*failed, error]

    write(bench.log, step)
    assert len(failed) == 1
    assert bench.content() == undisturbed
