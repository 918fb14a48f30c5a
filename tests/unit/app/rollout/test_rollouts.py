"""What serves: every change is a new revision, each cause changes once, a rollback restores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from trimtab.app.rollout.rollouts import Rollouts
from trimtab.clock import ManualClock
from trimtab.errors import ActionError
from trimtab.policy.rollout import Rollout
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import FIRST, bundle_record, window_report

CLOCK = ManualClock()


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


def rollouts(metadata: Metadata, **policy: object) -> Rollouts:
    return Rollouts(metadata, Rollout.model_validate(policy), "delay", CLOCK)


def deploy(to: Rollouts, version: int) -> Revision:
    return to.deploy(bundle_record(version), cause=f"deploy {version}", reason="test", by="test")


def roles(revision: Revision) -> dict[str, tuple[int, float]]:
    return {a.role: (a.version, a.weight) for a in revision.assignments}


def test_the_first_bundle_is_champion_and_the_next_challenges(metadata: Metadata) -> None:
    to = rollouts(metadata)
    assert roles(deploy(to, 1)) == {"champion": (1, 100.0)}
    second = deploy(to, 2)
    assert second.action == "challenge"
    assert roles(second) == {"champion": (1, 90.0), "challenger": (2, 10.0)}


def test_a_revision_notes_the_event_time(metadata: Metadata) -> None:
    to = rollouts(metadata)
    assert deploy(to, 1).as_of is None
    metadata.put(window_report(3, stage="closed"), window_report(1))
    assert deploy(to, 2).as_of == FIRST + timedelta(days=4)


def test_blue_green_replaces_at_once(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="blue-green")
    deploy(to, 1)
    assert roles(deploy(to, 2)) == {"champion": (2, 100.0)}


def test_deploying_what_serves_changes_nothing(metadata: Metadata) -> None:
    to = rollouts(metadata)
    deploy(to, 1)
    again = to.deploy(bundle_record(1), cause="another", reason="test", by="test")
    assert again.number == 1


def test_the_same_cause_changes_once(metadata: Metadata) -> None:
    to = rollouts(metadata)
    deploy(to, 1)
    deploy(to, 2)
    first = to.promote(cause="workflow/promote", reason="better", by="test")
    assert to.promote(cause="workflow/promote", reason="better", by="test") == first
    assert metadata.count(Revision) == 3


def test_a_rollback_is_a_new_revision_that_restores_the_earlier_champion(metadata: Metadata) -> None:
    to = rollouts(metadata)
    deploy(to, 1)
    deploy(to, 2)
    to.promote(cause="p", reason="better", by="test")
    back = to.rollback(cause="r", reason="worse", by="test")
    assert (back.number, back.action) == (4, "rollback")
    assert roles(back) == {"champion": (1, 100.0)}


def test_a_rollback_of_the_first_champion_takes_its_challenger_away(metadata: Metadata) -> None:
    to = rollouts(metadata)
    deploy(to, 1)
    deploy(to, 2)
    assert roles(to.rollback(cause="r", reason="worse", by="test")) == {"champion": (1, 100.0)}


def test_a_rollback_can_name_its_target(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="blue-green")
    for version in (1, 2, 3):
        deploy(to, version)
    assert roles(to.rollback(cause="r", reason="worse", by="test", to=1)) == {"champion": (1, 100.0)}
    with pytest.raises(ActionError, match="no revision 9; the newest is 4"):
        to.rollback(cause="r2", reason="worse", by="test", to=9)


@pytest.mark.parametrize("action", ["promote", "abandon", "rollback"])
def test_what_cannot_be_done_says_why(metadata: Metadata, action: str) -> None:
    to = rollouts(metadata)
    with pytest.raises(ActionError, match="nothing serves for model 'delay' yet; run: trimtab run"):
        getattr(to, action)(cause="c", reason="r", by="test")
    deploy(to, 1)
    with pytest.raises(ActionError, match=r"no challenger|nothing to restore"):
        getattr(to, action)(cause="c", reason="r", by="test")


def test_a_shadow_gets_no_traffic_and_may_become_champion(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="shadow")
    deploy(to, 1)
    second = deploy(to, 2)
    assert (second.action, roles(second)) == ("shadow", {"champion": (1, 100.0), "shadow": (2, 0.0)})
    assert roles(to.promote(cause="p", reason="test", by="test")) == {"champion": (2, 100.0)}


def test_a_canary_gets_more_traffic_step_by_step_and_then_all(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="canary", canary={"steps": ["5%", "50%"]})
    deploy(to, 1)
    seen = [deploy(to, 2), *(to.step(cause=f"step {n}", reason="test", by="test") for n in range(2))]
    assert [(each.action, roles(each)) for each in seen] == [
        ("challenge", {"champion": (1, 95.0), "challenger": (2, 5.0)}),
        ("step", {"champion": (1, 50.0), "challenger": (2, 50.0)}),
        ("promote", {"champion": (2, 100.0)}),
    ]
    assert to.step(cause="step 1", reason="again", by="test") == seen[2]
    with pytest.raises(ActionError, match="no challenger"):
        to.step(cause="step 9", reason="test", by="test")


def test_a_rollback_would_restore_the_champion_before(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="blue-green")
    deploy(to, 1)
    assert to.before() is None
    deploy(to, 2)
    found = to.before()
    assert found is not None
    assert found.version == 1


def test_what_a_rollback_has_ended_is_not_restored_by_the_next(metadata: Metadata) -> None:
    # given version 2 that was rolled back, and version 3 that challenges
    to = rollouts(metadata)
    for version in (0, 1, 2):
        deploy(to, version)
        if version:
            to.promote(cause=f"p{version}", reason="better", by="test")
    to.rollback(cause="r", reason="worse", by="guard")
    deploy(to, 3)
    # then what comes back is the one before both
    found = to.before()
    assert found is not None
    assert found.version == 0
    assert roles(to.rollback(cause="r2", reason="worse", by="test")) == {"champion": (0, 100.0)}
    # and with nobody left, nobody, unless a person names it
    assert to.before() is None
    with pytest.raises(ActionError, match="name its revision: --to 7"):
        to.rollback(cause="r3", reason="worse", by="test")
    assert roles(to.rollback(cause="r4", reason="asked", by="test", to=5)) == {"champion": (2, 100.0)}


def test_a_version_that_served_well_after_its_rollback_may_come_back(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="blue-green")
    for version in (1, 2):
        deploy(to, version)
    to.rollback(cause="r", reason="worse", by="guard")
    to.deploy(bundle_record(2), cause="again", reason="mended", by="test")
    deploy(to, 3)
    found = to.before()
    assert found is not None
    assert found.version == 2


@pytest.mark.parametrize("action", ["promote", "abandon"])
def test_what_was_judged_is_changed_and_nothing_that_came_in_its_place(metadata: Metadata, action: str) -> None:
    to = rollouts(metadata)
    for version in (1, 2, 3):
        deploy(to, version)
    with pytest.raises(ActionError, match="has version 3 as challenger in revision 3; judged was version 2"):
        getattr(to, action)(cause="c", reason="r", by="test", judged=2)
    assert getattr(to, action)(cause="c", reason="r", by="test", judged=3).number == 4


def test_a_rollback_is_of_the_champion_that_was_judged(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="blue-green")
    for version in (1, 2, 3):
        deploy(to, version)
    with pytest.raises(ActionError, match="has version 3 as champion in revision 3; judged was version 2"):
        to.rollback(cause="c", reason="r", by="test", judged=2)
    assert roles(to.rollback(cause="c", reason="r", by="test", judged=3)) == {"champion": (2, 100.0)}


def test_a_canary_steps_on_from_the_revision_that_was_judged(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="canary")
    deploy(to, 1)
    deploy(to, 2)
    to.step(cause="by hand", reason="r", by="test")
    with pytest.raises(ActionError, match="serves by revision 3; judged was revision 2"):
        to.step(cause="c", reason="r", by="test", judged=2)


@pytest.mark.parametrize("strategy", ["champion-challenger", "blue-green", "canary", "shadow"])
def test_a_role_that_is_named_goes_before_the_strategy(metadata: Metadata, strategy: str) -> None:
    to = rollouts(metadata, strategy=strategy)
    deploy(to, 1)
    as_: dict[str, Any] = {"reason": "test", "by": "test"}
    shadow = to.deploy(bundle_record(2), cause="a", role="shadow", **as_)
    assert (shadow.action, roles(shadow)) == ("shadow", {"champion": (1, 100.0), "shadow": (2, 0.0)})
    challenger = to.deploy(bundle_record(3), cause="b", role="challenger", share=0.29, **as_)
    assert (challenger.action, roles(challenger)) == ("challenge", {"champion": (1, 71.0), "challenger": (3, 29.0)})
    champion = to.deploy(bundle_record(4), cause="c", role="champion", **as_)
    assert (champion.action, roles(champion)) == ("deploy", {"champion": (4, 100.0)})


def test_a_challenger_gets_the_share_that_is_named(metadata: Metadata) -> None:
    to = rollouts(metadata)
    deploy(to, 1)
    deploy(to, 2)
    for number, (share, percent) in enumerate([(0.25, 25.0), (0.05, 5.0)]):
        found = to.step(cause=f"step {number}", reason="test", by="test", share=share)
        assert (found.action, roles(found)) == ("step", {"champion": (1, 100.0 - percent), "challenger": (2, percent)})
    # the one that it has is nothing new
    assert to.step(cause="again", reason="test", by="test", share=0.05).number == found.number


def test_shares_and_roles_that_cannot_be_say_why(metadata: Metadata) -> None:
    to = rollouts(metadata, strategy="blue-green")
    as_: dict[str, Any] = {"cause": "c", "reason": "test", "by": "test"}
    with pytest.raises(ActionError, match="the first bundle becomes its champion"):
        to.deploy(bundle_record(1), role="shadow", **as_)
    deploy(to, 1)
    with pytest.raises(ActionError, match="a champion has no share of the traffic to name"):
        to.deploy(bundle_record(2), share=0.1, **as_)
    with pytest.raises(ActionError, match="no challenger in revision 1"):
        to.step(share=0.1, **as_)
    to.deploy(bundle_record(2), role="challenger", **as_)
    for share in (0.0, 1.0):
        with pytest.raises(ActionError, match="between 0% and 100%"):
            to.step(share=share, **(as_ | {"cause": f"{share}"}))


def keeping(metadata: Metadata, keep: int = 2) -> Rollouts:
    return Rollouts(metadata, Rollout(), "delay", CLOCK, keep=keep)


def at_once(to: Rollouts, version: int) -> Revision:
    return to.deploy(bundle_record(version), cause=f"deploy {version}", reason="test", by="test", role="champion")


def kept(revision: Revision) -> list[int]:
    return [a.version for a in revision.assignments if a.kept]


def test_the_last_champions_stay_as_shadows_without_traffic(metadata: Metadata) -> None:
    to = keeping(metadata)
    assert [kept(at_once(to, version)) for version in (1, 2, 3, 4)] == [[], [1], [2, 1], [3, 2]]
    now = to.current()
    assert now is not None
    assert now.bundle_in("shadow") is None
    assert {a.weight for a in now.assignments if a.kept} == {0.0}


def test_kept_shadows_stay_while_a_challenger_comes_and_goes(metadata: Metadata) -> None:
    to = keeping(metadata)
    at_once(to, 1)
    at_once(to, 2)
    challenged = deploy(to, 3)
    assert (challenged.bundle_in("challenger"), kept(challenged)) == ("delay/3", [1])
    gone = to.abandon(cause="worse", reason="worse", by="test", judged=3)
    assert (kept(gone), gone.bundle_in("challenger")) == ([1], None)
    deploy(to, 4)
    assert kept(to.promote(cause="better", reason="better", by="test", judged=4)) == [2, 1]


def test_a_kept_shadow_is_no_candidate(metadata: Metadata) -> None:
    to = keeping(metadata)
    at_once(to, 1)
    at_once(to, 2)
    with pytest.raises(ActionError, match="no challenger and no shadow"):
        to.promote(cause="x", reason="x", by="test")
    with pytest.raises(ActionError, match="no challenger and no shadow"):
        to.abandon(cause="y", reason="y", by="test")
    assert kept(to.abandon(cause="z", reason="it fails", by="guard", judged=1)) == []


def test_a_kept_shadow_that_leads_comes_back_and_the_champion_stays_as_a_shadow(metadata: Metadata) -> None:
    to = keeping(metadata)
    for version in (1, 2, 3):
        at_once(to, version)
    back = to.way_back(1, cause="lead", reason="it leads", by="trimtab", judged=3)
    assert (back.action, back.bundle_in("champion"), kept(back)) == ("rollback", "delay/1", [3, 2])
    assert to.way_back(1, cause="lead", reason="it leads", by="trimtab", judged=3) == back
    with pytest.raises(ActionError, match="judged was version 3"):
        to.way_back(2, cause="other", reason="x", by="trimtab", judged=3)
    with pytest.raises(ActionError, match="keeps no version 9"):
        to.way_back(9, cause="another", reason="x", by="trimtab", judged=1)


def test_a_champion_that_broke_a_limit_does_not_stay_as_a_shadow(metadata: Metadata) -> None:
    to = keeping(metadata)
    for version in (1, 2, 3):
        at_once(to, version)
    back = to.rollback(cause="guard", reason="it fails", by="guard", judged=3)
    assert (back.bundle_in("champion"), kept(back)) == ("delay/2", [1])
