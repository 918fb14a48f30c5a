"""What a client was told is what the log says: an answer is there once as served, and an error is no served answer."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from kit.waiting import PATIENCE_S
from trimtab.bundle.calibration import Calibration
from trimtab.bundle.spec import Limits
from trimtab.serving.core.batching import BATCH_ROWS
from trimtab.serving.core.in_flight import InFlightRequest, RowGroup
from trimtab.serving.core.journal import APPEND_ROWS
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.requests import InferenceRequest
from trimtab.serving.web.asgi import Application
from trimtab.serving.worker_options import Fallbacks
from trimtab.stores.predictions.embedded.segment_log import SegmentLog

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"
NAN_ROW = 2
"""The row whose score is not a number, by the lookup model."""
TIMEOUT_S = 0.5


class Stuck:
    """A scorer in a thread that waits before the call of a number, until it is let go."""

    task: Literal["binary"] = "binary"
    in_process = False

    def __init__(self, inner: Any, before: int) -> None:
        self._inner = inner
        self._before = before
        self.free = threading.Event()
        self.calls: list[int] = []
        """Rows of each call."""

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.calls.append(len(X))
        if len(self.calls) == self._before:
            assert self.free.wait(PATIENCE_S)
        found: np.ndarray[Any, Any] = self._inner.score(X)
        return found

    def close(self) -> None:
        self._inner.close()


def slow(bundle: LoadedBundle, *, before: int = 1) -> tuple[LoadedBundle, Stuck]:
    stuck = Stuck(bundle.scorer, before)
    return replace(bundle, scorer=stuck, inline=False, quick=False), stuck


@pytest.fixture
def gateway_of(served: Served, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Return a function that makes a gateway with options, whose requests end after `timeout_s`."""
    made: list[Served] = []

    def make(timeout_s: float = PATIENCE_S, **options: Any) -> Served:
        other = type(served)(SegmentLog(tmp_path / f"log{len(made)}"), **options)
        application = Application(other.gateway, standard_routes(other.gateway), timeout_s=timeout_s)
        other.browser.close()
        other.browser = type(served.browser)(application)
        made.append(other)
        return other

    yield make
    for other in made:
        other.browser.close()
        other.log.close()


def answers(served: Served) -> list[str]:
    """Return the ids of the rows that the log calls an answer."""
    return [row["prediction_id"] for row in served.rows() if row["served"] and row["error"] is None]


def kinds(served: Served) -> dict[tuple[Any, ...], int]:
    """Return how many rows of each kind the log has."""
    found: dict[tuple[Any, ...], int] = {}
    for row in served.rows():
        kind = (row["version"], row["served"], row["route"], row["error"] is not None)
        found[kind] = found.get(kind, 0) + 1
    return found


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_long_request_that_fails_late_has_no_served_rows(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, in_thread: bool
) -> None:
    champion, stuck = slow(pack(1))
    stuck.free.set()
    served.serve(table_of(("champion", champion if in_thread else pack(1), 100)))
    rows = [0.0] * (2 * BATCH_ROWS)
    reply = served.browser.post(INFER, infer_body(*rows, NAN_ROW, 1, *rows, id="a"))
    assert reply.status == 500
    assert answers(served) == []
    # when: the chunk with the bad row was the third, so the last two were not scored at all
    assert kinds(served) == {(1, False, "split", False): 2 * BATCH_ROWS, (1, True, "split", True): BATCH_ROWS}
    assert served.gateway.metrics.rows_waiting == 0


def test_a_long_request_holds_up_no_short_one(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    served.serve(table_of(("champion", pack(1), 100), ("shadow", pack(2), 0)))
    count = 2 * BATCH_ROWS + 7
    replies = served.browser.together([(INFER, infer_body(*[1] * count, id="a")), (INFER, infer_body(0, id="b"))])
    assert [reply.status for reply in replies] == [200, 200]
    assert answers(served) == ["b", *(f"a/{row}" for row in range(count))]  # the short one did not wait
    assert kinds(served) == {(1, True, "split", False): count + 1, (2, False, "split", False): count + 1}
    assert SegmentLog(tmp_path / "log").read(limit=2)[0].num_rows == count + 1


@pytest.fixture
def appended(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows of each append to the log, each of which takes a second."""
    rows: list[int] = []
    append = served.log.append

    def slowly(columns: Any) -> None:
        rows.append(len(columns["prediction_id"]))
        append(columns)
        served.clock.sleep(1)

    monkeypatch.setattr(served.log, "append", slowly)
    return rows


def test_a_long_request_is_one_request_to_whoever_judges_its_version(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, appended: list[int]
) -> None:
    served.serve(table_of(("champion", pack(1), 100)))
    count = 2 * APPEND_ROWS + 7
    assert served.browser.post(INFER, infer_body(*[1] * count)).status == 200
    assert appended == [APPEND_ROWS, APPEND_ROWS, 7]  # others have batches in between
    assert len({(row["logged_at"], row["latency_us"]) for row in served.rows()}) == 1
    (variant,) = served.gateway.metrics.snapshot().variants.values()
    assert (variant.requests, sum(variant.latency), variant.rows) == (1, 1, count)


def test_a_long_request_that_fails_is_one_failure(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(1), 100)))
    assert served.browser.post(INFER, infer_body(*[1] * (2 * BATCH_ROWS), NAN_ROW)).status == 500
    failed = [variant.failed for variant in served.gateway.metrics.snapshot().variants.values()]
    assert sum(failed) == 1


def test_a_long_request_that_ends_while_it_is_logged_is_logged_whole(
    served: Served, pack: Packer, table_of: TableOf, appended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.serve(table_of(("champion", pack(1), 100)))
    append = served.log.append

    def append_and_leave(columns: Any) -> None:
        append(columns)
        task = asyncio.current_task()
        if task is not None and len(appended) == 1:
            task.cancel()

    monkeypatch.setattr(served.log, "append", append_and_leave)
    count = 3 * APPEND_ROWS

    async def ask() -> None:
        with pytest.raises(asyncio.CancelledError):
            await served.gateway.infer("delay", None, InferenceRequest(rows=count, columns={"row": [1] * count}), 1)

    asyncio.run(ask())
    assert kinds(served) == {(1, True, "split", False): count}
    assert appended == [APPEND_ROWS] * 3
    assert served.gateway.metrics.rows_waiting == 0


def test_a_stand_in_for_one_chunk_is_logged_with_the_others(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served = gateway_of(fallbacks=Fallbacks(value=0.5))
    served.serve(table_of(("champion", pack(1), 100)))
    reply = served.browser.post(INFER, infer_body(*[0] * BATCH_ROWS, NAN_ROW, id="a"))
    assert reply.status == 200
    assert sorted(answers(served)) == sorted(f"a/{row}" for row in range(BATCH_ROWS + 1))
    assert kinds(served) == {
        (1, True, "split", False): BATCH_ROWS,
        (1, False, "split", True): 1,
        (0, True, "fallback", False): 1,
    }


def test_a_request_whose_other_version_fails_later_has_no_served_rows(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    """The challenger's rows are scored at once, the champion's later, in a thread; nobody answers for the champion."""
    champion, stuck = slow(pack(1))
    stuck.free.set()
    challenger = pack(2, scores=(0.1, 0.2, 0.3))
    served.serve(table_of(("champion", champion, 50), ("challenger", challenger, 50), sticky=["key"]))
    body = infer_body(*[1] * 40, id="a")
    body["inputs"].append({"name": "key", "shape": [40], "datatype": "INT64", "data": list(range(40))})
    assert served.browser.post(INFER, body).status == 200
    assert sorted(answers(served)) == sorted(f"a/{row}" for row in range(40))
    body["inputs"][0]["data"] = [NAN_ROW] * 40
    body["id"] = "b"
    assert served.browser.post(INFER, body).status == 500
    assert len(answers(served)) == 40


def test_what_is_scored_after_its_client_was_answered_504_is_not_served(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served = gateway_of(TIMEOUT_S)
    champion, stuck = slow(pack(1))
    served.serve(table_of(("champion", champion, 100), ("shadow", pack(2), 0)))
    first = served.browser.post(INFER, infer_body(0, 1, id="begun"))
    second = served.browser.post(INFER, infer_body(1, id="waits"))
    assert [first.status, second.status] == [504, 504]
    assert served.gateway.metrics.rows_waiting == 0
    stuck.free.set()
    # then: the call that was under way is on record, and the one that waited behind it was never made
    assert kinds(served) == {(1, False, "abandoned", False): 2}
    assert stuck.calls == [2]
    # and: the next client is served
    assert served.browser.post(INFER, infer_body(1, id="next")).status == 200
    assert answers(served) == ["next"]


def test_rows_that_a_model_does_not_take_are_not_logged_when_their_client_leaves(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    # given a champion that takes none of the rows, and a challenger that is slower than the time limit
    served = gateway_of(TIMEOUT_S)
    champion = pack(1, entity_keys=("who",), limits=Limits(highest={"row": 0.5}))
    challenger, stuck = slow(pack(2, entity_keys=("who",)))
    served.serve(table_of(("champion", champion, 50), ("challenger", challenger, 50)))
    body = infer_body(*[1.0] * 20)
    body["inputs"].append({"name": "who", "shape": [20], "datatype": "BYTES", "data": [f"C{n}" for n in range(20)]})
    assert served.browser.post(INFER, body).status == 504
    stuck.free.set()
    # then only what the challenger has scored is logged
    assert kinds(served) == {(2, False, "abandoned", False): stuck.calls[0]}
    assert 0 < stuck.calls[0] < 20


def test_a_slow_version_is_still_judged_by_what_its_clients_did_not_wait_for(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served = gateway_of(TIMEOUT_S)
    champion, stuck = slow(pack(1))
    served.serve(table_of(("champion", champion, 100)))
    assert served.browser.post(INFER, infer_body(0)).status == 504
    stuck.free.set()
    served.rows()
    (variant,) = served.gateway.metrics.snapshot().variants.values()
    assert (sum(variant.late), variant.errors) == (1, 0)


def test_a_long_request_that_is_ended_has_no_served_rows(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served = gateway_of(TIMEOUT_S)
    champion, stuck = slow(pack(1), before=2)
    served.serve(table_of(("champion", champion, 100)))
    assert served.browser.post(INFER, infer_body(*[1] * (4 * BATCH_ROWS), id="a")).status == 504
    assert served.gateway.metrics.rows_waiting == 0
    stuck.free.set()
    # then: one chunk was scored, one was being scored, two were dropped
    assert kinds(served) == {(1, False, "abandoned", False): 2 * BATCH_ROWS}
    assert stuck.calls == [BATCH_ROWS, BATCH_ROWS]


def test_the_rows_of_several_long_requests_that_end_together_are_all_logged(
    served: Served, pack: Packer, table_of: TableOf
) -> None:
    batches = 2 * APPEND_ROWS // BATCH_ROWS + 1
    champion, stuck = slow(pack(1), before=2 * batches - 1)
    served.serve(table_of(("champion", champion, 100)))
    gateway, rows = served.gateway, batches * BATCH_ROWS

    async def ask() -> None:
        requests = [InferenceRequest(rows, {"row": [1] * rows, "moment": [None] * rows}) for _ in range(2)]
        tasks = [asyncio.ensure_future(gateway.infer("delay", None, request, 0)) for request in requests]
        while len(stuck.calls) < 2 * batches - 1:
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(found, asyncio.CancelledError) for found in await asyncio.gather(*tasks, return_exceptions=True)
        )
        for _ in range(4 * batches):  # the event loop alone hands them to the log, in pieces
            await asyncio.sleep(0)
        assert not gateway.journal._unlogged

    served.browser._runner.run(ask())
    stuck.free.set()
    assert kinds(served) == {(1, False, "abandoned", False): (2 * batches - 1) * BATCH_ROWS}


def test_a_client_that_leaves_as_its_rows_are_scored_leaves_no_row_waiting(
    served: Served, pack: Packer, table_of: TableOf
) -> None:
    champion, stuck = slow(pack(1))
    served.serve(table_of(("champion", champion, 100)))
    gateway = served.gateway

    async def ask() -> None:
        task = asyncio.ensure_future(gateway.infer("delay", None, InferenceRequest(1, {"row": [1]}), 0))
        while not stuck.calls:
            await asyncio.sleep(0.001)
        task.cancel()
        stuck.free.set()
        gateway.settle()  # the scores come before the task is told
        with pytest.raises(asyncio.CancelledError):
            await task

    served.browser._runner.run(ask())
    assert kinds(served) == {(1, False, "abandoned", False): 1}
    assert gateway.metrics.rows_waiting == 0


def test_nobody_answers_for_a_version_when_nobody_waits(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served = gateway_of(TIMEOUT_S)
    challenger, stuck = slow(pack(2))
    served.serve(table_of(("champion", pack(1), 0), ("challenger", challenger, 100)))
    assert served.browser.post(INFER, infer_body(NAN_ROW)).status == 504
    stuck.free.set()
    assert kinds(served) == {(2, False, "abandoned", True): 1}
    assert served.gateway.metrics.snapshot().fallbacks == {}


def test_a_pinned_version_that_came_too_late_stays_pinned(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served = gateway_of(TIMEOUT_S)
    champion, stuck = slow(pack(1))
    served.serve(table_of(("champion", champion, 100)))
    assert served.browser.post("/v2/models/delay/versions/1/infer", infer_body(0)).status == 504
    stuck.free.set()
    assert kinds(served) == {(1, False, "pinned", False): 1}


@pytest.mark.parametrize("rows", [1, BATCH_ROWS + 1])
def test_a_request_whose_client_is_gone_before_its_turn_is_not_scored(
    served: Served, pack: Packer, table_of: TableOf, rows: int
) -> None:
    champion, stuck = slow(pack(1))
    stuck.free.set()
    served.serve(table_of(("champion", champion, 100)))

    async def leave() -> None:
        request = InferenceRequest(rows=rows, columns={"row": [1] * rows})
        task = asyncio.create_task(served.gateway.infer("delay", None, request, 1))
        await asyncio.sleep(0)  # it waits for its batch now
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(leave())
    assert served.rows() == []
    assert stuck.calls == []
    assert served.gateway.metrics.rows_waiting == 0


def test_a_score_that_comes_as_the_client_leaves_is_not_served(served: Served, pack: Packer, table_of: TableOf) -> None:
    """The task is cancelled, and before it wakes to notice the batch comes."""
    served.serve(table_of(("champion", pack(1), 100)))

    async def leave() -> None:
        request = InferenceRequest(rows=1, columns={"row": [1]}, request_id="a")
        task = asyncio.create_task(served.gateway.infer("delay", None, request, 1))
        await asyncio.sleep(0)
        task.cancel()
        served.gateway.settle()
        await asyncio.wait([task])

    asyncio.run(leave())
    assert answers(served) == []


@pytest.mark.parametrize(
    ("wanted", "status"), [({"explain": True}, 400), ({"coverage": 0.9}, 400), ({"coverage": 2}, 400)]
)
def test_what_cannot_be_told_with_an_answer_is_refused_before_it_is_scored(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, wanted: dict[str, Any], status: int
) -> None:
    served.serve(table_of(("champion", pack(1), 100)))
    assert served.browser.post(INFER, infer_body(1, parameters=wanted)).status == status
    assert served.rows() == []


def test_a_stand_in_that_was_not_calibrated_answers_without_an_interval(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served = gateway_of(fallbacks=Fallbacks(value=1.5))
    calibration = Calibration(rows=100, coverages=(0.9,), half_widths=(2.5,))
    champion = pack(task="regression", scores=(10.0, 20.0, float("nan")), calibration=calibration)
    served.serve(table_of(("champion", champion, 100)))
    reply = served.browser.post(INFER, infer_body(NAN_ROW, id="a", parameters={"coverage": 0.9}))
    assert (reply.status, [output["name"] for output in reply.json()["outputs"]]) == (200, ["prediction"])
    assert "gave nan" in reply.json()["parameters"]["fallback"]
    assert answers(served) == ["a"]


@pytest.mark.parametrize("before", [False, True])
def test_a_stand_in_that_cannot_be_explained_answers_without_a_reason(
    gateway_of: Callable[..., Served], pack: Packer, table_of: TableOf, infer_body: Body, before: bool
) -> None:
    served = gateway_of(fallbacks=Fallbacks(value=0.5))
    warm = [pack(2, scores=(0.1, 0.2, 0.3))] if before else []  # one without rows to compare with
    served.serve(table_of(("champion", pack(1, background=((0.0,), (1.0,))), 100), warm=warm))
    reply = served.browser.post(INFER, infer_body(NAN_ROW, id="a", parameters={"explain": True}))
    assert reply.status == 200
    assert "contributions" not in [output["name"] for output in reply.json()["outputs"]]
    assert answers(served) == ["a"]


@pytest.mark.parametrize("rows", [1, BATCH_ROWS + 1])
def test_what_was_answered_is_freed_without_a_collection(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, rows: int
) -> None:
    served.serve(table_of(("champion", pack(1), 100)))
    served.browser.post(INFER, infer_body(1))
    gc.collect()
    gc.disable()
    try:
        served.browser.post(INFER, infer_body(*[1] * rows))
        left = [thing for thing in gc.get_objects() if isinstance(thing, InFlightRequest | RowGroup)]
    finally:
        gc.enable()
    assert left == []
