"""Champion or challenger, from the records of matured windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.monitoring.verdict import ChallengerVerdict, judge_challenger
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


def noise(count: int, mean: float, seed: int = 1) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(mean, 0.01, count)]


def test_a_better_challenger_is_promoted_with_the_figures_in_the_reason(book: Metadata) -> None:
    write(book, noise(12, 0.05))
    found = look(book)
    assert found.verdict == "promote"
    assert (found.windows, found.labels) == (12, 6000)
    assert 0 < found.lower < found.mean < found.upper
    assert "gain in log_loss +0.05" in found.reason
    assert "6,000 labels in 12 windows" in found.reason


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
    assert look(book, few).verdict == "continue"
    assert "only 6,000 of at least 6,001 labels" in look(book, few).reason


def test_windows_paired_with_another_champion_or_from_before_do_not_count(book: Metadata) -> None:
    write(book, noise(12, 0.05), champion=7)
    assert look(book).windows == 0
    write(book, noise(12, 0.05), first=12)
    assert look(book).windows == 12
    assert look(book, since=FIRST + timedelta(days=20)).windows == 4
    write(book, [9.9], first=24, role="champion")
    assert look(book).windows == 12


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
        ({"error_rate": 0.022}, False),  # 264 of 12,000 prove 1.7 %
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
