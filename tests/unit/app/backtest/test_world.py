"""One policy on one history: what it trains on, when it serves, and what is counted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.backtests import DAY, FIRST_DAY, START, SmallSource, small_policy
from trimtab.app.backtest.candidates import Candidate
from trimtab.app.backtest.policy_run import PolicyRun
from trimtab.app.backtest.training_cache import TrainingCache
from trimtab.app.backtest.triggers import ErrorRise, Every, LossAlarm, Never
from trimtab.app.backtest.world import Plan, World
from trimtab.errors import StageError
from trimtab.metric_catalog import Task
from trimtab.policy.model import Policy
from trimtab.stats.metrics import metric_value


def run(plan: Plan, source: SmallSource | None = None, folder: Path | None = None) -> tuple[PolicyRun, World]:
    subject = (source or SmallSource(task=plan_task(plan))).open()
    cache = TrainingCache(subject.model, subject.history, code=subject.code, folder=folder)
    world = World(plan, subject.history, cache, start=START)
    return world.run(), world


def plan_task(plan: Plan) -> Task:
    return "binary" if "false_negative" in plan.policy.impact.cost else "regression"


@pytest.fixture(params=["regression", "binary"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return small_policy(request.param)


def test_never_trains_nothing_and_counts_every_window_from_the_start_on(policy: Policy) -> None:
    found, _ = run(Plan(name="never", policy=policy, trigger=Never()))
    assert found.windows == len(found.starts) == 50
    assert found.starts[0] == START
    assert found.rows == [12] * 50
    assert found.retrained == []
    assert [change.action for change in found.changes] == ["deploy"]


def test_a_calendar_retrains_by_its_dates_and_serves_from_the_next_window_on(policy: Policy) -> None:
    found, _ = run(Plan(name="every:7d", policy=policy, trigger=Every(7 * DAY)))
    asked = [(each.asked_at - START) // DAY for each in found.retrained]
    assert asked == [7, 14, 21, 28, 35, 42, 49]
    assert all(each.served_at == each.asked_at for each in found.retrained)
    assert found.promotions == len(asked)


def test_retraining_after_a_change_saves_loss_and_money(policy: Policy) -> None:
    never, _ = run(Plan(name="never", policy=policy, trigger=Never()))
    weekly, _ = run(Plan(name="every:7d", policy=policy, trigger=Every(7 * DAY)))
    assert weekly.loss < never.loss
    assert weekly.total_money is not None
    assert never.total_money is not None
    assert weekly.total_money < never.total_money


def test_models_are_trained_on_rows_whose_labels_are_known_then(policy: Policy) -> None:
    source = SmallSource(task=plan_task(Plan(name="", policy=policy)), delay=5)
    plan = Plan(name="every:7d", policy=policy, trigger=Every(7 * DAY))
    _, world = run(plan, source)
    history = source.history()
    candidates: dict[int, Candidate] = world._versions
    for number, candidate in candidates.items():
        as_of = START + 7 * DAY * (number - 1)
        assert (history.known_at[candidate.known] <= as_of).all()
        assert candidate.known.sum() == ((history.known_at <= as_of) & (history.at < as_of)).sum()


@pytest.mark.parametrize("trigger", [LossAlarm(), ErrorRise(0.05)])
def test_triggers_on_the_loss_wait_for_labels_and_find_the_change(
    policy: Policy, trigger: LossAlarm | ErrorRise
) -> None:
    found, _ = run(
        Plan(name="loss", policy=policy, trigger=trigger),
        SmallSource(task=plan_task(Plan(name="", policy=policy)), turn=62, days=110),
    )
    changed = (FIRST_DAY + 62) * DAY
    assert any(each.asked_at > changed + 2 * DAY for each in found.retrained)
    assert all(each.asked_at > START + 8 * DAY for each in found.retrained)


def test_the_matrix_sees_the_change_through_monitor_and_controller(policy: Policy) -> None:
    found, _ = run(Plan(name="matrix", policy=policy, approve=True))
    assert sum(found.decisions.values()) == 48  # the labels of the last two windows are not complete
    made = [each for each in found.retrained if each.version is not None]
    assert made
    assert made[0].began_at > (FIRST_DAY + 50) * DAY
    assert made[0].trigger == "matrix"


def test_reviews_stay_open_where_no_person_approves(policy: Policy) -> None:
    approved, _ = run(Plan(name="approved", policy=policy, approve=True))
    alone, _ = run(Plan(name="alone", policy=policy))
    assert len(alone.retrained) <= len(approved.retrained)


def test_losses_and_money_are_those_of_the_metrics(policy: Policy) -> None:
    found, world = run(Plan(name="never", policy=policy, trigger=Never()))
    history, served = world._history, world._served
    rows = np.isfinite(served)
    name = "log_loss" if history.task == "binary" else "rmse"
    value = float(metric_value(name, history.y[rows], served[rows]))
    assert found.loss == pytest.approx(value if history.task == "binary" else value**2)
    errors = (
        ((served[rows] >= 0.5) != (history.y[rows] > 0.5))
        if history.task == "binary"
        else np.abs(served[rows] - history.y[rows])
    )
    assert found.total_money == pytest.approx(10.0 * errors.sum())


def test_wrong_labels_train_and_losses_are_counted_by_the_truth() -> None:
    policy, source = small_policy(), SmallSource()
    subject = source.open()
    history = subject.history
    wrong = replace(history, y=np.where(history.at < START, -history.y, history.y), truth=history.y)
    cache = TrainingCache(subject.model, wrong, code="", folder=None)
    found = World(Plan(name="never", policy=policy, trigger=Never()), wrong, cache, start=START).run()
    right, _ = run(Plan(name="never", policy=policy, trigger=Never()))
    before_turn = 10
    assert sum(found.losses[:before_turn]) > 3 * sum(right.losses[:before_turn])


def test_a_training_that_a_gate_refuses_changes_nothing() -> None:
    policy = small_policy(
        gates={"accuracy": {"metric": "rmse", "max": 1e-6, "resamples": 100}, "leakage": None, "performance": None}
    )
    found, _ = run(Plan(name="every:7d", policy=policy, trigger=Every(7 * DAY)))
    assert found.trained == found.promotions == 0
    assert all("accuracy" in each.refused for each in found.retrained)
    assert len(found.changes) == 1


def test_too_few_examples_are_an_error_for_the_first_model() -> None:
    policy = small_policy(training={"min_examples": 5_000})
    with pytest.raises(StageError, match=r"min_examples asks for 5,000"):
        run(Plan(name="never", policy=policy, trigger=Never()))


def test_a_refresh_is_routine_serves_at_once_and_keeps_former_champions_as_shadows() -> None:
    plan = Plan(name="policy", policy=small_policy(retrain={"refresh": {"every": "7d", "shadows": 2}}))
    found, world = run(plan, SmallSource(turn=1_000))
    assert [each.trigger for each in found.retrained] == ["routine"] * len(found.retrained)
    assert [(each.began_at - START) // DAY for each in found.retrained] == [7, 14, 21, 28, 35, 42, 49]
    assert [each.began_at - each.asked_at for each in found.retrained] == [2 * DAY] * 7  # labels take so long
    assert found.promotions == len(found.retrained)
    last = world._rollouts.history()[0]
    assert [(a.role, a.version, a.kept) for a in last.assignments] == [
        ("champion", 8, False),
        ("shadow", 7, True),
        ("shadow", 6, True),
    ]


def test_windows_with_wrong_labels_train_no_model_while_they_are_held() -> None:
    policy = small_policy(retrain={"refresh": {"every": "7d"}})
    subject = SmallSource(days=130, turn=1_000).open()
    history = subject.history
    first, last = (FIRST_DAY + 95) * DAY, (FIRST_DAY + 101) * DAY
    wrong = (history.at >= first) & (history.at < last)
    poisoned = replace(history, y=np.where(wrong, 30.0 * history.y, history.y), truth=history.y)
    start = (FIRST_DAY + 50) * DAY

    def lost(plan: Plan) -> tuple[PolicyRun, World]:
        cache = TrainingCache(subject.model, poisoned, code="", folder=None)
        world = World(plan, poisoned, cache, start=start)
        return world.run(), world

    found, world = lost(Plan(name="policy", policy=policy))
    weekly, _ = lost(Plan(name="every:7d", policy=policy, trigger=Every(7 * DAY)))
    assert {0, 1, 2, 3, 4, 5} <= {(each.start - first) // DAY for each in found.held}
    candidates: dict[int, Candidate] = world._versions
    assert not any((candidate.known & wrong).any() for candidate in candidates.values())
    assert found.loss < weekly.loss


def test_an_impact_function_that_says_what_the_prices_say_makes_the_same_decisions_and_money() -> None:
    priced, _ = run(Plan(name="policy", policy=small_policy()))

    def lost(y_true: np.ndarray, y_score: np.ndarray, a: np.ndarray) -> np.ndarray:
        assert np.isfinite(a).all()
        return np.asarray(10.0 * np.abs(y_score - y_true))

    subject = SmallSource().open()
    subject.model.impact(inputs=["a"])(lost)
    no_costs = small_policy(impact={"medium": 5.0, "high": 20.0})
    cache = TrainingCache(subject.model, subject.history, code=subject.code, folder=None)
    own = World(Plan(name="policy", policy=no_costs), subject.history, cache, start=START).run()
    assert own.money == pytest.approx(priced.money)
    assert own.decisions == priced.decisions
    assert own.changes == priced.changes
    assert [each.asked_at for each in own.retrained] == [each.asked_at for each in priced.retrained] != []
