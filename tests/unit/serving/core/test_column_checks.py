"""Rows whose request columns are not as expected: counted, refused with row and column, or not looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab.bundle.spec import ColumnCheck
from trimtab.serving.core import column_checks
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from unit.serving.conftest import Packer, Served, TableOf

Body = Callable[..., dict[str, Any]]
PATH = "/v2/models/delay/infer"
CHECKS = {"row": ColumnCheck(lowest=0.0, highest=0.5, null=False)}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SegmentLog]:
    made = SegmentLog(tmp_path / "log")
    yield made
    made.close()


@pytest.fixture
def bundle(pack: Packer) -> LoadedBundle:
    return pack(checks=CHECKS)


def serving(log: SegmentLog, bundle: LoadedBundle, table_of: TableOf, **options: Any) -> Served:
    return Served(log, **options).serve(table_of(("champion", bundle, 100.0)))


def counted(served: Served) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    served.gateway.settle()
    found = served.gateway.metrics.snapshot()
    return found.checked, found.outside


def test_by_default_strange_rows_are_answered_counted_and_told(
    log: SegmentLog, bundle: LoadedBundle, table_of: TableOf, infer_body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    served = serving(log, bundle, table_of)
    with caplog.at_level(logging.WARNING, logger=column_checks.__name__):
        assert served.browser.post(PATH, infer_body(0, 1, 1)).status == 200
        assert served.browser.post(PATH, infer_body(0)).status == 200
        assert counted(served) == ({"delay": 4}, {("delay", "row"): 2, ("delay", ""): 2})
        assert served.browser.post(PATH, infer_body(1)).status == 200
        served.gateway.settle()
    (told,) = [record.getMessage() for record in caplog.records]  # once a minute is enough
    assert "column 'row' of 2 of 4 rows is not as expected (from 0 to 0.5, not missing, as in the tr" in told
    text = served.gateway.metrics.text()
    assert 'trimtab_unexpected_rows_total{column="row",model="delay"} 3.0' in text
    assert 'trimtab_checked_rows_total{model="delay"} 5.0' in text
    served.browser.close()


def test_where_the_policy_says_so_they_are_refused_with_row_and_column(
    log: SegmentLog, bundle: LoadedBundle, table_of: TableOf, infer_body: Body
) -> None:
    served = serving(log, bundle, table_of, checks="refuse")
    reply = served.browser.post(PATH, infer_body(0, 0, 1))
    assert reply.status == 400
    expects = "model 'delay' expects from 0 to 0.5, not missing, as in the training rows"
    assert reply.json()["error"] == f"column 'row', row 2: 1; {expects}"
    # one that asks for many rows is told the row of the whole request
    reply = served.browser.post(PATH, infer_body(*[0] * 1500, None))
    assert (reply.status, reply.json()["error"]) == (400, f"column 'row', row 1500: null; {expects}")
    assert served.browser.post(PATH, infer_body(0)).status == 200
    # then it is counted, and no version is judged by it
    assert counted(served)[1] == {("delay", "row"): 2, ("delay", ""): 2}
    (variant,) = served.gateway.metrics.snapshot().variants.values()
    assert (variant.rows, variant.errors) == (1, 0)
    served.browser.close()


def test_lists_in_the_place_of_numbers_are_no_fault_of_the_gateway(
    log: SegmentLog, bundle: LoadedBundle, table_of: TableOf
) -> None:
    served = serving(log, bundle, table_of, checks="refuse")
    reply = served.browser.post("/v1/models/delay:predict", {"inputs": {"row": [[1, 2, 3], [1, 2, 3]]}})
    assert (reply.status, reply.json()["error"]) == (400, "column 'row', row 0: [1,2,3] is not a number")
    served.browser.close()


def test_switched_off_nothing_is_looked_at(
    log: SegmentLog, bundle: LoadedBundle, table_of: TableOf, infer_body: Body
) -> None:
    served = serving(log, bundle, table_of, checks="off")
    assert served.browser.post(PATH, infer_body(1)).status == 200
    assert counted(served) == ({}, {})
    served.browser.close()


@pytest.mark.parametrize("checks", ["warn", "refuse"])
def test_a_bundle_without_checks_expects_anything(
    log: SegmentLog, pack: Packer, table_of: TableOf, infer_body: Body, checks: str
) -> None:
    served = serving(log, pack(), table_of, checks=checks)
    assert served.browser.post(PATH, infer_body(1)).status == 200
    assert counted(served) == ({}, {})
    served.browser.close()


def test_rows_are_checked_without_the_end_of_the_worker(
    log: SegmentLog, bundle: LoadedBundle, table_of: TableOf, infer_body: Body
) -> None:
    served = serving(log, bundle, table_of)
    assert served.browser.post(PATH, infer_body(1)).status == 200

    async def until_checked() -> None:
        while not served.gateway.metrics.snapshot().checked:
            await asyncio.sleep(0.005)

    served.browser._runner.run(until_checked())
    assert served.gateway.metrics.snapshot().outside == {("delay", "row"): 1, ("delay", ""): 1}
    # and: a timer that fires when nothing waits any more does nothing
    assert served.browser.post(PATH, infer_body(1)).status == 200
    served.gateway.settle()
    served.gateway._expecting._check()
    assert counted(served)[0] == {"delay": 2}
    served.browser.close()
