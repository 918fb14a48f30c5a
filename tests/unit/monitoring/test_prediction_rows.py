"""Which rows of the log versions are judged by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trimtab.monitoring.prediction_rows import judged, version_rows
from trimtab.testing.predictions import prediction_rows


def test_tests_and_stopgaps_are_not_judged() -> None:
    table = pa.table(
        {
            "prediction_id": ["plain", "pinned", "the champion for another", "the champion before", "fixed score"],
            "route": ["split", "pinned", "fallback", "fallback", "fallback"],
            "role": ["champion", "champion", "champion", "fallback", "fallback"],
        }
    )
    assert judged(table)["prediction_id"].to_pylist() == ["plain", "the champion for another"]


def test_the_order_in_which_workers_log_changes_no_bit() -> None:
    rng = np.random.default_rng(3)
    ids = [f"{n:03}" for n in range(200)]
    columns = prediction_rows(ids, event_time=list(range(200)), score=rng.normal(size=200).tolist())
    table = pa.table({name: columns[name] for name in columns if name != "entities"})
    shuffled = table.take(pa.array(rng.permutation(200)))
    first, second = (version_rows(each, 3, requests=200).scored for each in (table, shuffled))
    assert first.ids == second.ids
    assert np.array_equal(first.score, second.score)
    assert float(first.score.mean()) == float(second.score.mean())


def test_rows_that_failed_together_came_in_one_request() -> None:
    # given a request of three rows, one of two that were logged with it, and one that took as long at another time
    columns = prediction_rows(
        list("abcdefg"),
        logged_at=[1, 1, 1, 1, 1, 2, 3],
        latency_us=[500, 500, 500, 90, 90, 500, 700],
        error=[*["no such row"] * 6, None],
    )
    table = pa.table({name: columns[name] for name in columns if name != "entities"})
    found = version_rows(table, 3, requests=7)
    assert (found.errors, found.failed_requests) == (6, 3)
    none = version_rows(table.slice(6), 3, requests=1)
    assert (none.errors, none.failed_requests) == (0, 0)
