"""The soak's changes: each fits what served before it, and says what the verb it names does."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from benchmarks.serving.changes import Change, endless, roles_of
from benchmarks.serving.soak_project import POLICY
from hypothesis import given
from hypothesis import strategies as st
from yaml import safe_load

from integration.gateway_project import GatewayProject
from trimtab import units
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle

VERSIONS = 4


@given(st.integers(2, 6), st.integers(0, 1000))
def test_every_change_has_one_champion_and_divides_the_whole_traffic(versions: int, seed: int) -> None:
    for change in islice(endless(versions, seed=seed), 50):
        roles = [role for role, _ in change.roles.values()]

        assert roles.count("champion") == 1
        assert sum(weight for _, weight in change.roles.values()) == 100
        assert all(1 <= version <= versions for version in change.roles)


def carry_out(change: Change, rollouts: Rollouts, bundles: dict[int, Bundle], cause: str) -> Revision:
    """Do what the command line does with the arguments of a change."""
    options = dict(zip(change.arguments[::2], change.arguments[1::2], strict=True))
    share = options.get("--share")
    given = {"share": None if share is None else units.share(share)} if change.verb in ("deploy", "step") else {}
    as_ = {"cause": cause, "reason": "a test", "by": "tests"}
    if change.verb == "deploy":
        role = options.get("--as")
        return rollouts.deploy(bundles[int(options["--version"])], role=role, **given, **as_)  # type: ignore[arg-type]
    if change.verb == "rollback":
        to = int(options["--to"]) if options else None
        return rollouts.rollback(to=to, cause=cause, reason="a test", by="tests")
    return getattr(rollouts, change.verb)(**given, **as_)  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(3))
def test_the_verbs_do_what_a_change_says(tmp_path: Path, seed: int) -> None:
    project = GatewayProject(tmp_path, **safe_load(POLICY.replace("LEAVES", "10")))
    bundles = {version: project.bundle(version) for version in range(1, VERSIONS + 1)}
    project.rollouts.deploy(bundles[1], cause="first", reason="a test", by="tests")
    for number, change in enumerate(islice(endless(VERSIONS, seed=seed), 60), 2):
        made = carry_out(change, project.rollouts, bundles, f"change {number}")

        assert (made.number, made.action, roles_of(made)) == (number, change.action, change.roles)


def test_a_hundred_changes_have_every_kind() -> None:
    kinds = {change.action for change in islice(endless(5), 100)}

    assert kinds == {"deploy", "challenge", "shadow", "step", "promote", "abandon", "rollback"}
