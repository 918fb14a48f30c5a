"""What the guard does about a breach: once, however often it must try; and when a canary goes on."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from kit.waiting import PATIENCE_S
from trimtab.app.gateway import guard
from trimtab.app.gateway.guard import LOOK, Guard
from trimtab.app.project.child_processes import AliasOrder
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.clock import ManualClock, to_micros
from trimtab.control.holds import set_freeze
from trimtab.errors import StoreError
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.serving.orders import COUNTS
from trimtab.serving.telemetry.counts_folder import SnapshotFolder
from trimtab.stats.gateway_counts import LATENCY_BORDERS_US, PROBABILITY_BORDERS, Snapshot, VariantCounts, VariantKey
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import bundle_record

DEFINITIONS = """
import trimtab as tt

flights = tt.FileSource("flights", "flights.parquet", timestamp="moment")
delay = tt.Model("delay", task="binary", examples=flights, label="late", features=["row"])


@delay.trainer
def train(data, params, seed):
    raise NotImplementedError
"""


class Unsteady(SqlMetadata):
    """A store that is away when a kind of record is written, as often as it is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.away: dict[type[Record], int] = {}

    def put(self, *records: Record) -> None:
        for record in records:
            if self.away.get(type(record), 0):
                self.away[type(record)] -= 1
                raise StoreError("the store is away")
        super().put(*records)


class Guarded:
    """A project, its guard, and the counts of a worker."""

    def __init__(self, folder: Path, **rollout: Any) -> None:
        self.clock = ManualClock()
        (folder / "definitions.py").write_text(DEFINITIONS)
        (folder / "trimtab.yaml").write_text(yaml.safe_dump({"project": "p", "rollout": rollout}))
        self.workspace: Workspace = open_workspace(folder, clock=self.clock)
        self.path = folder / "own.db"
        self.metadata = Unsteady(self.path)
        self.workspace.metadata = self.metadata
        self.rollouts: Rollouts = open_rollouts(self.workspace, "delay")
        self.counts: dict[VariantKey, VariantCounts] = {}
        self.guard = Guard(self.workspace)

    def deploy(self, version: int) -> Revision:
        made = self.rollouts.deploy(bundle_record(version), cause=f"deploy {version}", reason="test", by="test")
        self.look()
        return made

    def count(self, version: int, role: Any = "champion", *, served: bool = True, rows: int, **more: Any) -> None:
        """Add to what the worker has counted."""
        variant = self.counts.setdefault(VariantKey("delay", version, role, served), VariantCounts())
        variant.requests += rows
        variant.rows += rows
        variant.errors += more.pop("errors", 0)
        for name, value in more.items():
            setattr(variant, name, value)

    def look(self) -> None:
        """Let the guard look at what was counted."""
        self.clock.sleep(LOOK.total_seconds())
        snapshot = Snapshot(taken_at=to_micros(self.clock.now()), variants=self.counts)
        SnapshotFolder(self.workspace.run_folder / COUNTS).save("w", snapshot)
        self.guard.step({"delay": self.revisions})

    def restart(self) -> None:
        """Begin with a new guard."""
        self.guard = Guard(self.workspace)
        self.look()

    @property
    def revisions(self) -> Sequence[Revision]:
        return self.metadata.find(Revision, model="delay")

    @property
    def actions(self) -> list[str]:
        return [revision.action for revision in reversed(self.revisions)]

    @property
    def decisions(self) -> list[tuple[str, int]]:
        return [(each.action, each.version) for each in self.metadata.find(Decision, oldest_first=True)]


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which the program for the aliases leaves its order, here one that does no more."""
    path = tmp_path / "order.json"
    text = f"import sys; open({str(path)!r}, 'ab').write(sys.stdin.buffer.read())"
    monkeypatch.setattr(guard, "ALIASES", (sys.executable, "-S", "-c", text))
    return path


@pytest.fixture
def make(tmp_path: Path, orders: Path) -> Callable[..., Guarded]:
    def guarded(**rollout: Any) -> Guarded:
        folder = tmp_path / "project"
        folder.mkdir()
        return Guarded(folder, **rollout)

    return guarded


Make = Callable[..., Guarded]
FAILURES = {"error_rate": "5%", "min_requests": 20}


@pytest.fixture
def replaced_by_a_broken_one(make: Make) -> Guarded:
    """Version 2 took the place of version 1, and failed a hundred times since the guard looked."""
    to = make(strategy="blue-green", rollback_when=FAILURES)
    for version in (1, 2):
        to.deploy(version)
    to.count(2, rows=100, errors=100)
    return to


@pytest.mark.parametrize("kind", [WindowReport, Decision, Revision])
def test_a_breach_is_undone_when_the_store_is_back(replaced_by_a_broken_one: Guarded, kind: type[Record]) -> None:
    # given a champion that fails, and a store that is away when that is written
    to = replaced_by_a_broken_one
    to.metadata.away[kind] = 3
    for _ in range(3):
        to.look()
        assert to.actions == ["deploy", "deploy"]
    # when it is back, though nobody asks for predictions any more
    to.clock.sleep(3600)
    to.look()
    # then the change is undone, and recorded once
    assert to.actions == ["deploy", "deploy", "rollback"]
    assert to.decisions == [("rollback", 2)]
    to.look()
    assert len(to.actions) == 3


def test_ten_failures_without_a_success_are_enough_at_the_first_look(make: Make) -> None:
    to = make(strategy="blue-green", rollback_when={"error_rate": "5%"})
    to.deploy(1)
    to.deploy(2)
    to.count(2, rows=9, errors=9)
    to.look()
    assert to.actions == ["deploy", "deploy"]
    to.count(2, rows=1, errors=1)
    to.look()
    assert to.actions == ["deploy", "deploy", "rollback"]


def test_a_broken_ledger_keeps_no_failing_model_in_service(
    replaced_by_a_broken_one: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    # given a champion that fails, and a ledger whose newest record was changed
    to = replaced_by_a_broken_one
    with closing(sqlite3.connect(to.path)) as connection, connection:
        change = "UPDATE trimtab_revision SET body = replace(body, 'test', 'best') WHERE id = 'delay#2'"
        assert connection.execute(change).rowcount == 1
    to.look()
    # then the change is undone once, and the log says that no decision was written
    assert to.actions == ["deploy", "deploy", "rollback"]
    assert to.decisions == []
    assert "not in the ledger" in caplog.text
    to.look()
    to.restart()
    assert len(to.actions) == 3


def test_a_clock_that_is_set_back_does_not_blind_the_guard(replaced_by_a_broken_one: Guarded) -> None:
    to = replaced_by_a_broken_one
    to.clock._now -= timedelta(hours=1)
    to.look()
    assert to.actions == ["deploy", "deploy", "rollback"]


def test_a_dead_guard_leaves_nothing_half_done(replaced_by_a_broken_one: Guarded) -> None:
    to = replaced_by_a_broken_one
    to.metadata.away[Revision] = 1
    to.look()
    to.restart()
    to.count(2, rows=80, errors=80)
    to.look()
    assert to.actions == ["deploy", "deploy", "rollback"]
    assert to.decisions == [("rollback", 2)]


@pytest.mark.parametrize(("strategy", "role"), [("blue-green", "champion"), ("champion-challenger", "challenger")])
def test_a_version_that_came_in_the_place_of_the_failing_one_goes_on_serving(
    make: Make, strategy: str, role: str
) -> None:
    # given a version that fails, while the store does not take the change that undoes it
    to = make(strategy=strategy, rollback_when=FAILURES)
    for version in (1, 2):
        to.deploy(version)
    to.count(2, role, rows=100, errors=100)
    to.metadata.away[Revision] = 1
    to.look()
    assert to.decisions == [("rollback", 2)]
    # when a person replaces it before the store is back
    replaced = to.rollouts.deploy(bundle_record(3), cause="deploy 3", reason="a better one", by="test")
    to.look()
    # then the new version serves on
    assert to.revisions[0] == replaced


def test_a_review_is_asked_for_once_however_often_the_guard_starts(make: Make) -> None:
    to = make(rollback_when=FAILURES)
    to.deploy(1)
    for _ in range(3):
        to.count(1, rows=100, errors=100)
        to.look()
        to.restart()
    assert to.decisions == [("review", 1)]


def test_a_version_that_was_rolled_back_is_not_restored(make: Make) -> None:
    # given version 2 that was rolled back, and version 3 that challenges version 1
    to = make(rollback_when=FAILURES)
    to.deploy(1)
    to.deploy(2)
    to.rollouts.promote(cause="p", reason="better", by="test")
    to.rollouts.rollback(cause="r", reason="worse", by="guard")
    to.deploy(3)
    # when the champion fails
    to.count(1, rows=100, errors=100)
    to.look()
    # then a person is asked
    assert to.decisions == [("review", 1)]
    assert to.actions[-1] == "challenge"


def test_what_a_rollback_has_restored_is_not_rolled_back_again(make: Make) -> None:
    # given three champions in turn, and a rollback from the third to the second
    to = make(strategy="blue-green", rollback_when=FAILURES)
    for version in (1, 2, 3):
        to.deploy(version)
    to.rollouts.rollback(cause="r", reason="worse", by="test")
    to.look()
    # when the restored one fails
    to.count(2, rows=100, errors=100)
    to.look()
    # then a person is asked, though the first one could come back
    assert to.decisions == [("review", 2)]
    assert to.actions == ["deploy", "deploy", "deploy", "rollback"]
    before = to.rollouts.before()
    assert before is not None
    assert before.version == 1


def test_a_broken_challenger_leaves_while_its_champion_waits_for_a_review(make: Make) -> None:
    to = make(rollback_when=FAILURES)
    to.deploy(1)
    to.deploy(2)
    to.count(1, rows=100, errors=100)
    to.look()
    to.count(2, "challenger", served=False, rows=100, errors=100)
    to.look()
    assert to.decisions == [("review", 1), ("rollback", 2)]
    assert to.actions[-1] == "abandon"


def canary(make: Make, **rollout: Any) -> Guarded:
    steps = {"steps": ["10%", "50%"], "hold": "1s", "min_requests": 50}
    to = make(strategy="canary", canary=steps, **rollout)
    to.deploy(1)
    to.deploy(2)
    to.clock.sleep(2)
    return to


def test_comparisons_do_not_move_a_canary(make: Make) -> None:
    to = canary(make)
    to.count(1, rows=400)
    to.count(2, "challenger", served=False, rows=400)
    to.count(2, "challenger", rows=40)
    to.look()
    assert to.actions == ["deploy", "challenge"]
    to.count(2, "challenger", rows=10)
    to.look()
    assert to.actions == ["deploy", "challenge", "step"]


def test_a_canary_stays_at_its_share_while_the_model_is_frozen(make: Make) -> None:
    to = canary(make)
    put_freeze(to, frozen=True)
    to.count(1, rows=400)
    to.count(2, "challenger", rows=100)
    to.look()
    assert to.actions == ["deploy", "challenge"]
    # when the freeze has ended it goes on; and what fails is taken out of service also while the model is frozen
    put_freeze(to, frozen=False)
    to.look()
    assert to.actions == ["deploy", "challenge", "step"]
    put_freeze(to, frozen=True)
    to.look()
    to.count(1, rows=400)
    to.count(2, "challenger", rows=100, errors=100)
    to.look()
    assert to.actions[-1] == "abandon"


def put_freeze(to: Guarded, *, frozen: bool) -> None:
    set_freeze(to.metadata, "delay", frozen=frozen, reason="the audit", by="ann", clock=to.clock)


def test_a_canary_that_fails_every_row_is_taken_out_without_a_limit(make: Make) -> None:
    to = canary(make)
    to.count(1, rows=400)
    to.count(2, "challenger", served=False, rows=100, errors=100)
    to.look()
    assert to.actions == ["deploy", "challenge", "abandon"]
    assert to.decisions == [("rollback", 2)]


def test_the_registry_is_told_what_the_guard_changed(make: Make, orders: Path) -> None:
    to = canary(make)
    to.count(2, "challenger", rows=60)
    to.count(1, rows=60)
    to.look()
    assert to.actions[-1] == "step"
    for helper in to.guard._helpers:
        helper.wait(PATIENCE_S)
    order = msgspec.json.decode(orders.read_bytes(), type=AliasOrder)
    assert (order.model, Path(order.project)) == ("delay", to.workspace.project.folder)


@pytest.fixture
def watched_for_jumps(make: Make) -> Guarded:
    """Version 1 serves, and no more than half of the scores may lie elsewhere than those of the champion before."""
    to = make(strategy="blue-green", rollback_when={"output_jump": "50%", "min_requests": 50})
    to.deploy(1)
    return to


def scores(*, low: int = 0, high: int = 0) -> list[int]:
    """Return a histogram of the lowest and the highest scores."""
    return [low, *[0] * 18, high]


def test_the_scores_before_are_those_of_all_variants_of_the_champion_before(watched_for_jumps: Guarded) -> None:
    # given a champion that once challenged, with most of its scores as champion
    to = watched_for_jumps
    for role in ("challenger", "champion"):
        to.count(1, role, rows=0, scores=scores(), borders=PROBABILITY_BORDERS)
    to.look()
    to.count(1, "challenger", rows=60, scores=scores(low=60))
    to.count(1, rows=600, scores=scores(high=600))
    to.look()
    # when the next one scores as it did as champion
    to.deploy(2)
    to.count(2, rows=600, scores=scores(high=600), borders=PROBABILITY_BORDERS)
    to.look()
    # then nothing has jumped
    assert to.decisions == []


def test_what_a_rollback_restores_is_not_compared_with_what_it_ended(watched_for_jumps: Guarded) -> None:
    # given a champion whose scores jumped, and its rollback
    to = watched_for_jumps
    to.count(1, rows=600, scores=scores(low=600), borders=PROBABILITY_BORDERS)
    to.look()
    to.deploy(2)
    to.count(2, rows=600, scores=scores(high=600), borders=PROBABILITY_BORDERS)
    to.look()
    assert to.decisions == [("rollback", 2)]
    to.look()
    # when the restored one scores as it always did
    to.count(1, rows=600, scores=scores(low=1200))
    to.look()
    # then nobody is bothered
    assert to.decisions == [("rollback", 2)]


@pytest.mark.parametrize(("pauses", "actions"), [(1, ["deploy", "deploy"]), (4, ["deploy", "deploy", "rollback"])])
def test_a_champion_is_rolled_back_for_slowness_that_lasts(make: Make, pauses: int, actions: list[str]) -> None:
    # given a champion whose clients wait once, or every two seconds
    to = make(strategy="blue-green", rollback_when={"p99": "50ms", "min_requests": 20})
    to.deploy(1)
    to.deploy(2)
    latency = [0] * (len(LATENCY_BORDERS_US) + 1)
    for look in range(16):
        if look % 4 == 0 and look < 4 * pauses:
            latency[-2] += 30
        latency[3] += 20
        to.count(2, rows=50, latency=list(latency))
        to.look()
    assert to.actions == actions


def test_the_inputs_of_a_run_are_kept_of_the_newest_counts_alone(make: Make) -> None:
    to = make(strategy="blue-green", rollback_when={"constant_output": 200, "min_requests": 10})
    to.deploy(1)
    for number in range(1, 5):
        to.count(1, rows=50, run=50 * number, run_score=0.5, run_inputs=list(range(50 * number)))
        to.look()
    kept = [len(variant.run_inputs) for snapshot in to.guard._seen for variant in snapshot.variants.values()]
    assert kept == [0, 0, 0, 200]
    assert to.decisions == [("review", 1)]  # nothing has served before


def test_what_stands_still_is_kept_once(make: Make) -> None:
    to = make()
    to.deploy(1)
    for _ in range(20):
        to.clock.sleep(LOOK.total_seconds())
        to.guard.step({"delay": to.revisions})
    assert len(to.guard._seen) <= 2
