"""Monitor and controller together, on a stream in a real log: from rows to decisions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from trimtab.clock import EPOCH, ManualClock
from trimtab.control.controller import Controller
from trimtab.control.ledger import verify_chain
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.judged import MODEL, RecordingActions, champion_revision
from trimtab.testing.streams import NAMES, Variant, World, play, truth

POLICY = parse_policy(
    """
project: flights
impact: { currency: USD, cost: { false_negative: 40, false_positive: 5 }, medium: 100/day, high: 200/day }
rollout: { rollback_when: { error_rate: 5% } }
decide: { labels_mature_after: 1d, cooldown: 5d }
"""
)
DAYS = 60
CLOCK = ManualClock(EPOCH)

Life = Callable[[SegmentLog, Callable[[], object]], None]


@cache
def reference() -> Reference:
    every = [World().day(n) for n in range(DAYS)]
    X, y, times = (np.concatenate(part) for part in zip(*((d.X, d.y, d.times) for d in every), strict=True))
    return build_reference(
        X,
        truth(X),
        y,
        times,
        NAMES,
        window=POLICY.decide.window,
        task="binary",
        threshold=POLICY.impact.threshold,
        costs=POLICY.impact.cost_for("binary"),
    )


def live(folder: Path, life: Life, *, actions: RecordingActions, restart: bool = False) -> Metadata:
    """Let the loop watch a stream, looking twice a day; with `restart` a new process does each look."""
    log, book = SegmentLog(folder / "log"), SqlMetadata(folder / "metadata.db")
    book.put(champion_revision(1, 1), champion_revision(2, 2, action="promote"))

    def loop() -> tuple[Monitor, Controller]:
        monitor = Monitor(book, log, POLICY, lambda model, version: reference(), CLOCK)
        return monitor, Controller(book, POLICY, MODEL, actions, CLOCK)

    monitor, controller = loop()

    def step() -> None:
        nonlocal monitor, controller
        if restart:
            monitor, controller = loop()
        monitor.step()
        controller.step()

    life(log, step)
    log.close()
    return book


def decisions(book: Metadata) -> list[Decision]:
    found = list(book.find(Decision, model=MODEL, oldest_first=True))
    verify_chain(found)
    return found


VARIANTS = (Variant(version=2),)


def quiet_then(changed: World) -> Life:
    def world(day: int) -> World:
        return changed if day >= DAYS + 4 else World(seed=11)

    return lambda log, step: play(log, world, range(DAYS, DAYS + 14), VARIANTS, ticks=2, after_tick=step)


def test_a_quiet_stream_is_left_alone_and_every_day_has_its_reasons(tmp_path: Path) -> None:
    actions = RecordingActions()
    book = live(tmp_path, quiet_then(World(seed=11)), actions=actions)
    found = decisions(book)
    matured = book.find(WindowReport, model=MODEL, stage="matured", oldest_first=True)
    assert [d.window for d in found] == [w.id for w in matured]
    assert len(found) >= 12
    assert {d.action for d in found} == {"monitor"}
    assert all("inputs look like the 60 reference windows" in d.reasons[0] for d in found)
    assert actions.asked == []
    book.close()


def test_mistakes_that_cost_much_start_one_retraining_and_then_the_cooldown_holds(tmp_path: Path) -> None:
    actions = RecordingActions()
    book = live(tmp_path, quiet_then(World(seed=11, flip=0.4)), actions=actions)
    found = decisions(book)
    acted = [d for d in found if d.action == "retrain"]
    assert {d.action for d in found[:4]} == {"monitor"}
    assert acted
    assert ("retrain", acted[0].id) in actions.asked
    assert (acted[0].band, acted[0].impact) == ("severe", "high")
    assert "mistakes are more than the model expects" in " ".join(acted[0].reasons)
    after = [d for d in found if acted[0].end < d.end and (d.end - acted[0].end).days < 5]
    assert after
    assert {d.action for d in after} == {"monitor"}
    assert any("cooldown" in d.reasons[-1] for d in after)
    book.close()


def test_a_shift_that_does_no_harm_retrains_nothing(tmp_path: Path) -> None:
    actions = RecordingActions()
    book = live(tmp_path, quiet_then(World(seed=11, shift={2: 1.0})), actions=actions)
    found = decisions(book)
    assert any(d.p_seq < 0.01 for d in found), "the shift is seen"
    assert {d.action for d in found} == {"monitor", "review"}
    assert [d.action for d in found].count("review") <= 3, "a person is asked once a cooldown"
    assert {action for action, _ in actions.asked} <= {"review", "escalate"}
    book.close()


def test_a_failing_version_is_rolled_back_as_soon_as_its_window_closes(tmp_path: Path) -> None:
    actions = RecordingActions()

    def life(log: SegmentLog, step: Callable[[], object]) -> None:
        play(log, World(seed=11), range(DAYS, DAYS + 2), VARIANTS, ticks=2, after_tick=step)
        play(log, World(seed=11), [DAYS + 2], [Variant(version=2, failing=0.2)], ticks=2, after_tick=step)
        play(log, World(seed=11), [DAYS + 3], VARIANTS, ticks=2, after_tick=step)

    book = live(tmp_path, life, actions=actions)
    rollbacks = [d for d in decisions(book) if d.action == "rollback"]
    assert len(rollbacks) == 1
    assert actions.asked == [("rollback", rollbacks[0].id)]
    assert "version 1, which served before, is restored" in rollbacks[0].reasons
    book.close()


@pytest.mark.parametrize("changed", [World(seed=11, flip=0.4)])
def test_processes_that_die_after_every_look_decide_the_same(tmp_path: Path, changed: World) -> None:
    one = live(tmp_path / "one", quiet_then(changed), actions=RecordingActions())
    many = live(tmp_path / "many", quiet_then(changed), actions=RecordingActions(), restart=True)
    assert decisions(many) == decisions(one)
    one.close()
    many.close()
