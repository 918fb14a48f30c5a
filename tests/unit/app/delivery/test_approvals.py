"""Bundles that people approve before they serve in an environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.environments import DAY, Pair
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.freezing import freeze
from trimtab.app.operations.promotion_requests import answer_promotion, promotion_states
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import ingesting, pipeline
from trimtab.clock import ManualClock
from trimtab.errors import ActionError, ApprovalNeeded, Forbidden, PolicyError, StageError, UsageError
from trimtab.policy.reader import parse_policy
from trimtab.records.features import FeatureViewVersion
from trimtab.records.promotions import PromotionAnswer
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

DEV = Actor(name="dev", role="developer")
ANN, BOB, CID = (Actor(name=name, role="approver") for name in ("ann", "bob", "cid"))
FIRST = "delay/promotion/1"


def pair_with(folder: Path, **rules: Any) -> Pair:
    environments = {"staging": {}, "production": {"from": "staging", "approvals": 2, **rules}}
    return Pair(folder / "project", clock=ManualClock(DAY), environments=environments)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return pair_with(tmp_path)


def answer(
    pair: Pair, actor: Actor, verdict: Any = "approve", request: str = FIRST, reason: str = "looked at it"
) -> str:
    """Answer a request; return its state."""
    return answer_promotion(pair.production, actor, request, verdict, reason=reason).state


def waits(pair: Pair, **options: Any) -> str:
    """Promote, which waits for approval; return what the person is told."""
    with pytest.raises(ApprovalNeeded) as told:
        pair.promote(**{"actor": DEV, **options})
    assert pair.production.metadata.find(Revision) == []
    assert pair.production.artifacts.names() == []
    return str(told.value)


def test_it_serves_once_two_other_people_have_approved(pair: Pair) -> None:
    bundle = pair.serve(1)

    told = waits(pair)
    assert f"{FIRST} (delay/1 of staging, {bundle.digest[:12]}...) has 0 of 2 approvals." in told
    assert "all who have the role approver, except dev, who asked" in told
    assert "trimtab promotions approve delay/promotion/1 --env production" in told
    assert answer(pair, ANN) == answer(pair, ANN, reason="again") == "waits"
    assert "has 1 of 2 approvals (ann)" in waits(pair)
    assert answer(pair, BOB) == "approved"

    revision = pair.promote(actor=DEV)

    assert revision.by == "dev"
    assert revision.origin is not None
    assert (revision.origin.approvals, revision.origin.request) == (("ann", "bob"), FIRST)
    assert pair.promote(actor=DEV) == revision
    assert [each.state for each in promotion_states(pair.production)] == ["done"]
    assert pair.production.metadata.verify().breaks == ()
    with pytest.raises(ActionError, match="carried out by revision 1"):
        answer(pair, CID)


def test_who_asks_cannot_approve(pair: Pair) -> None:
    pair.serve(1)
    waits(pair, actor=ANN)

    with pytest.raises(Forbidden, match="'ann' has asked for delay/promotion/1, so another person has to approve it"):
        answer(pair, ANN)
    with pytest.raises(Forbidden, match="needs the role approver"):
        answer(pair, DEV)
    assert pair.production.metadata.find(PromotionAnswer) == []
    own = PromotionAnswer(
        id="forged", created_at=DAY, model="delay", request=FIRST, verdict="approve", reason="", by="ann", role="admin"
    )
    pair.production.metadata.put(own)
    assert "has 0 of 2 approvals" in waits(pair, actor=ANN), "one that was written past the check does not count"


def test_nothing_is_copied_while_the_model_is_frozen(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "project", clock=ManualClock(DAY))
    pair.serve(1)
    freeze(pair.production, ANN, "delay", reason="the end of the year")

    with pytest.raises(ActionError, match="the end of the year"):
        pair.promote()
    assert pair.production.artifacts.names() == []
    assert pair.promote(force=True).number == 1


def test_an_approval_lapses_with_its_bundle(pair: Pair) -> None:
    pair.serve(1)
    waits(pair)
    answer(pair, ANN)
    answer(pair, BOB)
    first = pair.staging.metadata.get(Bundle, "delay/1")
    pair.serve(2, (0.2, 0.9))

    assert "delay/promotion/2 (delay/2 of staging" in waits(pair)
    assert [each.state for each in promotion_states(pair.production)] == ["waits", "lapsed"]
    with pytest.raises(ActionError, match="lapsed, since another one was asked for"):
        answer(pair, CID)
    assert "delay/promotion/3 (delay/1 of staging" in waits(pair, bundle=first)
    assert "0 of 2" in waits(pair, bundle=first), "approvals of an earlier request do not come back"
    assert "delay/promotion/4" in waits(pair, bundle=first, role="champion"), "another role is another request"


def test_a_rejected_request_is_asked_for_anew_by_word_alone(pair: Pair) -> None:
    pair.serve(1)
    waits(pair)
    answer(pair, ANN)
    assert answer(pair, BOB, "reject", reason="the bias of night flights") == "rejected"

    with pytest.raises(ActionError, match=r"rejected by bob: the bias of night flights\. To ask once more: --again"):
        pair.promote(actor=DEV)
    with pytest.raises(ActionError, match="waits for no answer"):
        answer(pair, CID)
    assert "delay/promotion/2" in waits(pair, again=True)


def test_what_was_rolled_back_is_approved_anew(pair: Pair) -> None:
    for version in (1, 2):
        pair.serve(version, (0.1 * version, 0.9))
        with pytest.raises(ApprovalNeeded):
            pair.promote(actor=DEV)
        for person in (ANN, BOB):
            answer(pair, person, request=f"delay/promotion/{version}")
        pair.promote(actor=DEV)

    back = open_rollouts(pair.production, "delay").rollback(cause="test", reason="slow", by="cid")
    assert back.bundle_in("champion") == "delay/1", "a way back takes no approval"
    with pytest.raises(ApprovalNeeded, match=r"delay/promotion/3 .* has 0 of 2"):
        pair.promote(actor=DEV)


def test_nothing_is_asked_that_cannot_be_carried_out(pair: Pair) -> None:
    ingesting.ingest(pair.staging)
    pair.serve(1, views=True)

    with pytest.raises(StageError, match=r"table 'orders' is empty there. Run: trimtab ingest --env production"):
        pair.promote(actor=DEV)
    assert promotion_states(pair.production) == []
    ingesting.ingest(pair.production)
    assert FIRST in waits(pair)
    assert pair.production.online.watermark(pair.staging.metadata.find(FeatureViewVersion)[0].id) is None


def test_only_those_who_are_named_may_approve(tmp_path: Path) -> None:
    pair = pair_with(tmp_path, approvals=1, approvers=["bob", "dev"], role="developer")
    pair.serve(1)

    assert "Who may approve: bob, with the role developer" in waits(pair)
    with pytest.raises(Forbidden, match=r"'ann' is not among those .*: bob, dev"):
        answer(pair, ANN)
    assert answer(pair, BOB) == "approved"


def test_an_approval_counts_by_the_rules_of_now(tmp_path: Path) -> None:
    pair = pair_with(tmp_path, approvals=1)
    pair.serve(1)
    waits(pair)
    answer(pair, ANN)
    policy = pair.folder / "trimtab.yaml"
    policy.write_text(policy.read_text().replace("approvals: 1", "approvals: 1\n    approvers: [bob]"))

    assert "has 0 of 1 approvals" in waits(Pair(pair.folder, clock=ManualClock(DAY)))


def test_what_was_made_in_the_environment_does_not_serve_there(pair: Pair) -> None:
    production = pair.production
    made = register_bundle(
        production.metadata, production.artifacts, lookup_graph([0.1]), plain_spec("delay", ["row"]),
        version=1, created_at=DAY,
    )  # fmt: skip

    with pytest.raises(ActionError, match=r"only bundles serve that people have approved .*--from staging"):
        pipeline.deploy(production, made, cause="test", reason="a test", by="tests")
    assert production.metadata.find(Revision) == []


def test_another_source_than_the_policy_names_is_refused(tmp_path: Path) -> None:
    pair = pair_with(tmp_path, **{"from": "local"})

    with pytest.raises(UsageError, match=r"production\.from: production takes bundles of local, not of staging"):
        pair.promote(pair.bundle(1))


def test_a_bundle_serves_in_staging_for_long_enough_first(tmp_path: Path) -> None:
    clock = ManualClock(DAY)
    environments = {"staging": {}, "production": {"soak": "2h"}}
    pair = Pair(tmp_path / "project", clock=clock, environments=environments)
    first = pair.serve(1)
    clock.move_to(DAY + timedelta(minutes=90))
    pair.serve(2, (0.2, 0.9))

    for bundle in (first, None):
        with pytest.raises(ActionError, match=r"has served in staging for .*production\.soak asks for 2h"):
            pair.promote(bundle)
    clock.move_to(DAY + timedelta(hours=4))
    assert pair.promote().bundle_in("champion") == "delay/2"


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ("{ approvals: 2, approvers: [ann, ann] }", "approvals: 2 takes as many approvers; 1 are named"),
        ("{ from: stagin }", "production.from: 'stagin' is no other environment. Did you mean 'staging'"),
        ("{ from: production }", "'production' is no other environment"),
        ("{ role: viewer }", "role"),
        ("{ gateway: scores.example.com }", "gateway"),
        ("{ approvals: 1, folder: ./.trimtab/ }", "production: its records would be those of local"),
        (
            "{ from: staging, folder: .trimtab/environments/staging }",
            "production: its records would be those of staging",
        ),
    ],
)
def test_rules_that_cannot_hold_are_told(rules: str, error: str) -> None:
    with pytest.raises(PolicyError, match=rf"environments.*{error}"):
        parse_policy(f"project: p\nenvironments: {{ staging: {{}}, production: {rules} }}\n")
