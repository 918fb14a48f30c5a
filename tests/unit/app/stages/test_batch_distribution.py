"""The values of a batch against the last good batches, for batches that differ from day to day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from trimtab.app.stages.batch_distribution import compare_batch
from trimtab.definitions.sources import FileSource
from trimtab.errors import PolicyError
from trimtab.policy.data_checks import Distribution
from trimtab.records.data import CheckResult

SOURCE = FileSource("t", "t", timestamp="at", key=["id"])
ROWS = 120


def days(count: int, seed: int) -> list[pl.DataFrame]:
    """Return batches with an effect of the day that resembles that of the day before."""
    random = np.random.default_rng(seed)
    found, effect = [], 0.0
    for day in range(count):
        effect = 0.7 * effect + random.normal(0, 0.3)
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        found.append(
            pl.DataFrame(
                {
                    "at": [at] * ROWS,
                    "id": np.arange(day * ROWS, (day + 1) * ROWS),
                    "x": random.normal(effect, 1, ROWS),
                    "y": random.normal(0, 1, ROWS),
                    "kind": random.choice(["a", "b", "c"], ROWS),
                }
            )
        )
    return found


def judge(policy: Distribution, before: list[pl.DataFrame], batch: pl.DataFrame) -> CheckResult:
    rows = pl.concat(before).lazy() if before else batch.clear().lazy()
    return compare_batch(policy, rows, [each.height for each in before], batch, SOURCE)


@pytest.mark.parametrize("good", [20, 40])
def test_days_that_differ_as_before_seldom_fail_and_a_change_does(good: int) -> None:
    policy, batches = Distribution(on_failure="fail"), days(good + 30, seed=2)
    usual = [judge(policy, batches[n - good : n], batches[n]).verdict for n in range(good, good + 30)]
    assert usual.count("fail") <= 2
    changed = batches[-1].with_columns(pl.col("y") * 4 + 5)
    found = judge(policy, batches[-good - 1 : -1], changed)
    assert found.verdict == "fail"
    assert found.reason.startswith("its values differ in 'y': p ")
    assert f"against the last {good} good batches, limit 0.01" in found.reason


def test_only_named_columns_are_compared() -> None:
    batches = days(22, seed=3)
    changed = batches[-1].with_columns(pl.col("y") + 9)
    assert judge(Distribution(columns=["kind"]), batches[:-1], changed).verdict == "pass"
    with pytest.raises(PolicyError, match=r"there is no column 'kin'.*'kind'"):
        judge(Distribution(columns=["kin"]), batches[:-1], changed)


def test_few_batches_are_not_judged() -> None:
    batches = days(21, seed=4)
    assert judge(Distribution(), [], batches[0]).reason == "not judged: 0 good batches before it, 20 are needed"
    assert judge(Distribution(), batches[:20], batches[20]).value is not None
    assert judge(Distribution(), batches[1:20], batches[20]).value is None
