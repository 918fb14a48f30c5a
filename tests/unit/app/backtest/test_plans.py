"""Names of policies, variants of keys, and what is said of wrong ones."""

import pytest

from kit.backtests import DAY, small_policy
from trimtab.app.backtest.plans import plans
from trimtab.app.backtest.triggers import ErrorRise, Every, Never
from trimtab.errors import UsageError


def test_names_become_plans_and_never_comes_first() -> None:
    found = plans(small_policy(), ["every:7d", "error:+5%", "matrix:approved"], [])
    assert [plan.name for plan in found] == ["never", "every:7d", "error:+5%", "matrix:approved"]
    assert [plan.trigger for plan in found] == [Never(), Every(7 * DAY), ErrorRise(0.05), None]
    assert found[-1].approve


def test_the_policy_and_its_matrix_are_one_plan_where_nothing_is_refreshed() -> None:
    assert [plan.name for plan in plans(small_policy(), ["matrix", "policy"], [])] == ["never", "matrix"]
    refreshed = small_policy(retrain={"refresh": {"every": "7d"}})
    found = plans(refreshed, ["matrix", "policy", "refresh:7d"], [])
    assert [plan.name for plan in found] == ["never", "matrix", "policy"]
    assert found[1].policy.retrain.refresh is None


def test_variants_are_every_combination_of_values() -> None:
    found = plans(small_policy(), [], ["decide.cooldown=7d,14d", "retrain.refresh.every=7d,14d"])
    assert [plan.name for plan in found[1:]] == [
        "decide.cooldown=7d, retrain.refresh.every=7d",
        "decide.cooldown=7d, retrain.refresh.every=14d",
        "decide.cooldown=14d, retrain.refresh.every=7d",
        "decide.cooldown=14d, retrain.refresh.every=14d",
    ]
    last = found[-1].policy
    assert last.decide.cooldown == 14 * DAY
    assert last.retrain.refresh is not None
    assert last.retrain.refresh.every == 14 * DAY
    assert last.impact == small_policy().impact


@pytest.mark.parametrize(
    ("names", "vary", "said"),
    [
        (["evry:7d"], [], r"no policy is called 'evry:7d'.*'every'"),
        (["every:soon"], [], r"'every:soon'.*every:7d"),
        (["every:7"], [], r"'every:7'"),
        (["error:5"], [], r"error:\+5%"),
        (["matrix:aproved"], [], r"'approved'"),
        (["never:7d"], [], r"takes nothing after the colon"),
        ([], ["decide.cooldwn=7d"], r"no key 'decide.cooldwn'.*'cooldown'"),
        ([], ["cooldown=7d"], r"no key 'cooldown'"),
        ([], ["decide.cooldown"], r"names no values"),
        ([], ["decide.cooldown=7"], r"decide.cooldown.*7 has no unit"),
        ([], ["decide.cooldown=soon"], r"decide.cooldown.*'soon'"),
        ([], ["decide.cooldown.long=7d"], r"'decide.cooldown' has no keys below it"),
        ([], ["training.holdout=3"], r"training.holdout"),
    ],
)
def test_wrong_names_keys_and_values_are_named(names: list[str], vary: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plans(small_policy(), names, vary)
