"""Plans over processes and runs: the same result whatever --jobs, trainings shared, finished plans not run again."""

from pathlib import Path
from typing import Any

import pytest

from kit.backtests import DAY, START, SmallSource, small_policy
from trimtab.app.backtest.policy_run import PolicyRun
from trimtab.app.backtest.running import Job, run_all
from trimtab.app.backtest.training_cache import Training, TrainingCache
from trimtab.app.backtest.triggers import Every, Never
from trimtab.app.backtest.world import Plan, World
from trimtab.errors import StageError


def jobs(folder: Path, source: SmallSource | None = None) -> list[Job]:
    policy = small_policy()
    plans = [
        Plan(name="never", policy=policy, trigger=Never()),
        Plan(name="every:7d", policy=policy, trigger=Every(7 * DAY)),
        Plan(name="every:14d", policy=policy, trigger=Every(14 * DAY)),
        Plan(name="matrix", policy=policy, approve=True),
    ]
    return [Job(source=source or SmallSource(), plan=plan, start=START, folder=folder) for plan in plans]


def told(name: str, done: int, of: int) -> None:
    pass


def plain(runs: list[PolicyRun]) -> list[object]:
    """Return results without the processor times, which are measured."""
    return [(r.name, r.losses, r.money, [(t.asked_at, t.version, t.gain) for t in r.retrained]) for r in runs]


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    one = run_all(jobs(tmp_path / "one"), processes=1, tell=told)
    two = run_all(jobs(tmp_path / "two"), processes=2, tell=told)
    assert plain(one) == plain(two)


def test_trainings_are_made_once_for_all_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    fit = TrainingCache._fit

    def counted(self: TrainingCache, key: str, *args: Any) -> Training:
        made.append(key)
        return fit(self, key, *args)

    monkeypatch.setattr(TrainingCache, "_fit", counted)
    source = SmallSource(seed=4)
    wanted = [job for job in jobs(tmp_path, source) if job.plan.trigger is not None]
    run_all(wanted, processes=1, tell=told)
    assert len(made) == len(set(made)) == 8  # the first model and seven by the week; every second is the other's


def test_finished_plans_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SmallSource(seed=5)
    wanted = jobs(tmp_path, source)
    before = run_all(wanted[:2], processes=1, tell=told)
    ran: list[str] = []
    go = World.run

    def counted(self: World) -> PolicyRun:
        ran.append(self._plan.name)
        return go(self)

    monkeypatch.setattr(World, "run", counted)
    after = run_all(wanted, processes=1, tell=told)
    assert ran == ["every:14d", "matrix"]
    assert plain(after[:2]) == plain(before)


def test_what_was_finished_before_an_error_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = World.run

    def fails(self: World) -> PolicyRun:
        if self._plan.name == "every:14d":
            raise StageError("out of order")
        return go(self)

    monkeypatch.setattr(World, "run", fails)
    source = SmallSource(seed=6)
    with pytest.raises(StageError, match="out of order"):
        run_all(jobs(tmp_path, source), processes=1, tell=told)
    assert len(list((tmp_path / "results").glob("*.json"))) == 2


def test_a_damaged_training_is_made_again(tmp_path: Path) -> None:
    source = SmallSource(seed=7)
    before = run_all(jobs(tmp_path, source)[:2], processes=1, tell=told)
    for path in (tmp_path / "trainings").rglob("*.pickle"):
        path.write_bytes(path.read_bytes()[:20])
    for path in (tmp_path / "results").glob("*.json"):
        path.unlink()
    again = run_all(jobs(tmp_path, source)[:2], processes=1, tell=told)
    assert plain(again) == plain(before)
