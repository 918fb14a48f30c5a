"""Champion or challenger, from the records of matured windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.monitoring.verdict import ChallengerVerdict, judge_challenger, judge_former_champion
from trimtab.policy.rollout import PromoteWhen, RollbackWhen
from trimtab.records.record import Role
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, window_report

POLICY = PromoteWhen(min_labels=1000, min_windows=10, max_windows=30)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


def write(
    book: Metadata,
    gains: Sequence[float],
    *,
    first: int = 0,
    role: Role = "challenger",
    champion: int = 1,
    rows: int = 500,
    **metrics: float,
) -> None:
    """Write matured windows of version 2, one a day."""
    for day, gain in enumerate(gains, start=first):
        found = {
            "paired_log_loss_gain": gain,
            "paired_rows": float(rows),
            "paired_version": float(champion),
            "error_rate": 0.0,
            "p99_ms": 5.0,
        }
        book.put(window_report(day, version=2, role=role, metrics=found | metrics))


def look(book: Metadata, policy: PromoteWhen = POLICY, **more: object) -> ChallengerVerdict:
    return judge_challenger(book, model=MODEL, champion=1, challenger=2, policy=policy, metric="log_loss", **more)  # type: ignore[arg-type]


def test_versions_can_be_compared_by_money(book: Metadata) -> None:
    for day, loss in enumerate(noise(20, -0.05)):  # cheaper mistakes, by a version that fits worse
        gains = {"paired_log_loss_gain": loss, "paired_money_gain": 0.4 + loss}
        metrics = gains | {"paired_rows": 500.0, "paired_version": 1.0, "error_rate": 0.0}
        book.put(window_report(day, version=2, role="challenger", metrics=metrics))
    found = judge_challenger(book, model=MODEL, champion=1, challenger=2, policy=POLICY, metric="money")
    assert found.verdict == "promote"
    assert "gain in money +0.35" in found.reason
    assert look(book).verdict != "promote"


def noise(count: int, mean: float, seed: int = 1) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(mean, 0.01, count)]


def test_a_better_challenger_is_promoted_with_the_figures_in_the_reason(book: Metadata) -> None:
    write(book, noise(12, 0.05))
    found = look(book)
    assert found.verdict == "promote"
    assert (found.windows, found.held_out, found.labels) == (10, 0, 5000), "those of the first look that decides"
    assert 0 < found.lower < found.mean < found.upper
    assert "gain in log_loss +0.05" in found.reason
    assert "5,000 labels in 10 windows" in found.reason


def test_an_equal_challenger_is_not_promoted_and_expires(book: Metadata) -> None:
    gains = noise(30, 0.0, seed=3)
    verdicts = []
    for day, gain in enumerate(gains):
        write(book, [gain], first=day)
        verdicts.append(look(book).verdict)
    assert set(verdicts[:-1]) == {"continue"}
    assert verdicts[-1] == "expired"
    assert "no verdict after 30 windows" in look(book).reason


def test_a_worse_challenger_is_futile(book: Metadata) -> None:
    write(book, noise(12, -0.05))
    assert look(book).verdict == "futile"


def test_too_few_windows_or_labels_go_on(book: Metadata) -> None:
    assert look(book).verdict == "continue"
    assert look(book).reason == "0 of at least 10 windows (no paired labels yet)"
    write(book, noise(9, 0.05))
    assert look(book).verdict == "continue"
    write(book, noise(3, 0.05), first=9)
    few = POLICY.model_copy(update={"min_labels": 6001})
    assert look(book).verdict == "promote"
    assert look(book, few).verdict == "continue"
    assert "only 6,000 of at least 6,001 labels" in look(book, few).reason


def test_windows_paired_with_another_champion_or_from_before_do_not_count(book: Metadata) -> None:
    write(book, noise(12, 0.05), champion=7)
    assert look(book).windows == 0
    write(book, noise(9, 0.05), first=12)
    assert look(book).windows == 9
    assert look(book, since=FIRST + timedelta(days=20)).windows == 1
    write(book, [9.9], first=24, role="champion")
    assert look(book).windows == 9


def test_windows_without_labels_still_age_the_comparison(book: Metadata) -> None:
    for day in range(30):
        book.put(window_report(day, version=2, role="challenger", metrics={"error_rate": 0.0}, labelled=0))
    assert look(book).verdict == "expired"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"error_rate": 0.04}, "4.00% of its predictions failed, which proves 3."),
        ({"p99_ms": 60.0}, "its slowest 1% took 60.0 ms"),
    ],
)
def test_a_challenger_that_breaks_a_limit_is_not_promoted(book: Metadata, metrics: dict[str, Any], said: str) -> None:
    write(book, noise(12, 0.05), **metrics)
    limits = RollbackWhen(error_rate=0.02, p99=50_000)
    assert look(book).verdict == "promote", "no limits were handed in"
    found = look(book, limits=limits)
    assert found.verdict == "continue"
    assert said in found.reason


def test_a_pause_of_the_machine_is_held_against_no_challenger(book: Metadata) -> None:
    write(book, noise(12, 0.05), p99_ms=253.0, p99_low_ms=5.0)
    assert look(book, limits=RollbackWhen(p99=50_000)).verdict == "promote"


@pytest.mark.parametrize(
    ("metrics", "broken"),
    [
        ({"error_rate": 0.022}, False),  # 220 of 10,000 prove 1.7 %
        ({"error_rate": 0.03}, True),
        ({"error_rate": 0.03, "failed_requests": 1.0}, False),  # twelve requests of 30 rows
        ({"error_rate": 0.03, "failed_requests": 30.0}, True),
    ],
)
def test_failures_that_chance_explains_are_held_against_no_challenger(
    book: Metadata, metrics: dict[str, Any], broken: bool
) -> None:
    write(book, noise(12, 0.05), **metrics)
    found = look(book, limits=RollbackWhen(error_rate=0.02))
    assert (found.verdict, bool(found.broken)) == ("continue" if broken else "promote", broken)


def test_the_smallest_effect_worth_having_ends_a_hopeless_comparison(book: Metadata) -> None:
    write(book, noise(25, 0.002))
    assert look(book, POLICY.model_copy(update={"smallest_effect": 0.1})).verdict == "futile"


def test_the_order_of_writing_does_not_matter(book: Metadata, tmp_path: Path) -> None:
    gains = noise(12, 0.05)
    write(book, gains)
    other = SqlMetadata(tmp_path / "other.db")
    for day in reversed(range(12)):
        write(other, [gains[day]], first=day)
    assert msgspec.to_builtins(look(other).mean) == look(book).mean
    assert book.find(type(window_report()))[0].start == (FIRST + 11 * DAY)
    other.close()


def test_the_first_look_that_decides_counts_however_seldom_one_looks(book: Metadata) -> None:
    gains = [*noise(15, 0.05), *noise(14, -0.2, seed=2)]
    told = []
    for day, gain in enumerate(gains):
        write(book, [gain], first=day)
        told.append(look(book).verdict)
    assert told.count("continue") == 9
    assert set(told[9:]) == {"promote"}, "what came later does not change it"
    assert look(book).windows == 10


def test_windows_held_out_before_count_as_evidence(book: Metadata) -> None:
    write(book, noise(5, 0.05))
    assert look(book).verdict == "continue"
    found = look(book, held_out=noise(36, 0.05, seed=2))
    assert (found.verdict, found.windows, found.held_out) == ("promote", 5, 36)
    assert "2,500 labels in 5 windows and in 36 windows held out before" in found.reason
    assert look(book, held_out=noise(36, -0.05, seed=2)).verdict != "promote"


def test_evidence_from_before_does_not_replace_live_windows(book: Metadata) -> None:
    assert look(book, held_out=noise(36, 0.05)).verdict == "continue"
    write(book, noise(4, 0.05))
    found = look(book, held_out=noise(36, 0.05))
    assert found.verdict == "continue"
    assert "4 of at least 5 live windows" in found.reason
    few = POLICY.model_copy(update={"min_live_windows": 4})
    assert look(book, few, held_out=noise(36, 0.05)).verdict == "promote"


def test_suspected_windows_do_not_judge_and_still_age_the_comparison(book: Metadata) -> None:
    write(book, [*noise(5, 0.05), *([-9.0] * 10), *noise(15, 0.05, seed=2)])
    assert look(book).verdict != "promote"
    found = look(book, suspected=[(FIRST + 5 * DAY, FIRST + 15 * DAY)])
    assert found.verdict == "promote"
    alone = look(book, suspected=[(FIRST + 5 * DAY - timedelta(seconds=1), FIRST + 30 * DAY)])
    assert alone.windows == 4, "window 4 overlaps"
    assert look(book, suspected=[(FIRST, FIRST + 30 * DAY)]).verdict == "expired"


def test_a_window_whose_metric_is_not_defined_does_not_judge(book: Metadata) -> None:
    write(book, noise(9, 0.05))
    book.put(window_report(9, version=2, role="challenger", metrics={"paired_rows": 3.0, "paired_version": 1.0}))
    assert (look(book).windows, look(book).verdict) == (9, "continue")


def test_a_tolerated_loss_decides_sooner(book: Metadata) -> None:
    write(book, noise(14, 0.006))
    assert look(book).verdict == "continue"
    found = look(book, POLICY.model_copy(update={"tolerate": 0.02}))
    assert found.verdict == "promote"
    assert "0.02 is tolerated" in found.reason


def test_the_champion_before_is_watched_after_a_promotion(book: Metadata) -> None:
    def watched(policy: PromoteWhen = POLICY) -> ChallengerVerdict:
        return judge_former_champion(
            book,
            model=MODEL,
            champion=1,
            former=2,
            policy=policy,
            metric="log_loss",
            since=FIRST + 20 * DAY,
        )

    write(book, noise(20, 0.5), role="shadow")
    assert watched().windows == 0, "from before the promotion"
    write(book, noise(12, 0.001), first=20, role="shadow")
    assert watched(POLICY.model_copy(update={"tolerate": 1.0})).verdict == "continue", "a way back tolerates nothing"
    write(book, noise(18, 0.02, seed=2), first=32, role="shadow")
    assert watched().verdict == "promote"
