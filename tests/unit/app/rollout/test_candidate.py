"""The trial of a retrained bundle: judged on labels as challenger or shadow, by the guard as canary."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.app.rollout.candidate import Verdict, judge_candidate, lost, promotion, removal
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.clock import ManualClock, to_micros
from trimtab.policy.rollout import Rollout
from trimtab.records.gate_reports import HeldOutWindow
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, bundle_record, gate_report, window_report

CLOCK = ManualClock()
EVIDENCE = {"min_labels": 100, "min_windows": 20, "max_windows": 60}


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


def policy(strategy: str) -> Rollout:
    return Rollout.model_validate({"strategy": strategy, "promote_when": EVIDENCE})


def deployed(book: Metadata, strategy: str, *versions: int) -> Rollouts:
    to = Rollouts(book, policy(strategy), MODEL, CLOCK)
    for version in versions:
        bundle = bundle_record(version)
        book.put(bundle)
        to.deploy(bundle, cause=f"deploy {version}", reason="test", by="test")
    return to


def evidence(book: Metadata, role: Any, days: int = 20) -> None:
    """Write matured windows in which version 2 was better than version 1."""
    for day in range(days):
        found = {
            "paired_log_loss_gain": 0.05 + day % 3 / 1000,
            "paired_rows": 500.0,
            "paired_version": 1.0,
        }
        book.put(window_report(day, version=2, role=role, metrics=found))


@pytest.mark.parametrize(("strategy", "role"), [("champion-challenger", "challenger"), ("shadow", "shadow")])
def test_a_better_candidate_is_promoted(book: Metadata, strategy: str, role: str) -> None:
    deployed(book, strategy, 1, 2)
    assert judge_candidate(book, policy(strategy), MODEL, f"{MODEL}/2", task="binary").name == "continue"
    evidence(book, role)
    found = judge_candidate(book, policy(strategy), MODEL, f"{MODEL}/2", task="binary")
    assert found.name == "promote"
    assert "gain in log_loss" in found.reason


def test_a_canary_is_left_to_the_guard_until_its_end(book: Metadata) -> None:
    to = deployed(book, "canary", 1, 2)
    evidence(book, "challenger")
    bundle = f"{MODEL}/2"
    assert judge_candidate(book, policy("canary"), MODEL, bundle, task="binary").name == "continue"
    last = to.promote(cause="c", reason="all steps", by="guard")
    assert judge_candidate(book, policy("canary"), MODEL, bundle, task="binary").name == "promoted"
    assert promotion(book, MODEL, bundle) == last


def test_of_several_promotions_the_last_one_is_found(book: Metadata) -> None:
    to = deployed(book, "champion-challenger", 1, 2)
    to.promote(cause="p", reason="better", by="trimtab")
    to.rollback(cause="r", reason="too slow", by="guard")
    to.deploy(bundle_record(2), cause="again", reason="mended", by="ann")
    last = to.promote(cause="q", reason="better, and quick", by="ann")
    assert promotion(book, MODEL, f"{MODEL}/2") == last


def test_who_takes_a_candidate_out_is_found(book: Metadata) -> None:
    to = deployed(book, "canary", 1, 2)
    last = to.abandon(cause="c", reason="it fails", by="guard")
    assert judge_candidate(book, policy("canary"), MODEL, f"{MODEL}/2", task="binary").name == "replaced"
    assert removal(book, MODEL, f"{MODEL}/2") == last


def test_a_bundle_that_was_taken_out_on_evidence_has_lost_until_it_serves_again(book: Metadata) -> None:
    to = deployed(book, "champion-challenger", 1, 2)
    assert lost(book, MODEL, f"{MODEL}/2") is None
    to.abandon(cause="a", reason="gain in log_loss -0.05", by="trimtab")
    assert str(lost(book, MODEL, f"{MODEL}/2")).endswith("by trimtab: gain in log_loss -0.05")
    assert lost(book, MODEL, f"{MODEL}/1") is None
    to.deploy(bundle_record(2), cause="again", reason="test", by="ann")
    assert lost(book, MODEL, f"{MODEL}/2") is None


def test_a_champion_that_a_person_replaced_has_not_lost_and_one_that_was_beaten_has(book: Metadata) -> None:
    to = deployed(book, "champion-challenger", 1, 2)
    to.promote(cause="p", reason="gain in log_loss 0.05", by="trimtab")
    assert "lost its place as champion" in str(lost(book, MODEL, f"{MODEL}/1"))
    to.deploy(bundle_record(3), cause="d", reason="test", by="ann", role="champion")
    assert lost(book, MODEL, f"{MODEL}/2") is None


HOUR = DAY / 24


def held_out(number: int, *, length: timedelta = DAY, metric: str = "log_loss") -> HeldOutWindow:
    start = FIRST - 40 * DAY + number * length
    return HeldOutWindow(start=start, end=start + length, rows=500, gains={metric: 0.05 + number % 3 / 1000})


def judged(book: Metadata, **more: Any) -> Verdict:
    return judge_candidate(book, policy("shadow"), MODEL, f"{MODEL}/2", task="binary", **more)


@pytest.mark.parametrize(
    ("before", "champion", "more", "found"),
    [
        ([held_out(n) for n in range(36)], f"{MODEL}/1", {}, "promote"),
        (
            [held_out(n) for n in range(36)],
            f"{MODEL}/1",
            {"window": to_micros(FIRST + DAY) - to_micros(FIRST)},
            "promote",
        ),
        ([], f"{MODEL}/1", {}, "continue"),
        ([held_out(n) for n in range(36)], f"{MODEL}/7", {}, "continue"),
        ([held_out(n) for n in range(36)], None, {}, "continue"),
        ([held_out(n, metric="brier") for n in range(36)], f"{MODEL}/1", {}, "continue"),
        ([held_out(n, length=HOUR) for n in range(36)], f"{MODEL}/1", {"window": 86_400_000_000}, "continue"),
        ([held_out(n) for n in range(36)], f"{MODEL}/1", {"suspected": [(FIRST - 40 * DAY, FIRST)]}, "continue"),
    ],
)
def test_the_holdout_is_evidence_where_it_was_compared_with_this_champion(
    book: Metadata, before: list[HeldOutWindow], champion: str | None, more: dict[str, Any], found: str
) -> None:
    deployed(book, "shadow", 1, 2)
    report = gate_report(2, champion=champion)
    book.put(msgspec.structs.replace(report, id=bundle_record(2).gate_report, held_out=tuple(before)))
    evidence(book, "shadow", days=5)
    assert judged(book, **more).name == found


def test_no_gate_report_is_no_evidence(book: Metadata) -> None:
    deployed(book, "shadow", 1, 2)
    evidence(book, "shadow", days=5)
    assert judged(book).name == "continue"
