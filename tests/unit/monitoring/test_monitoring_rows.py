"""Which rows of the log versions are judged by."""

from __future__ import annotations

import pyarrow as pa

from trimtab.monitoring.rows import judged


def test_tests_and_stopgaps_are_not_judged() -> None:
    table = pa.table(
        {
            "prediction_id": ["plain", "pinned", "the champion for another", "the champion before", "fixed score"],
            "route": ["split", "pinned", "fallback", "fallback", "fallback"],
            "role": ["champion", "champion", "champion", "fallback", "fallback"],
        }
    )
    assert judged(table)["prediction_id"].to_pylist() == ["plain", "the champion for another"]
