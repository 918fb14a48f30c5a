"""Who answers when a variant fails or is too slow, and what the log says about it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from kit.waiting import PATIENCE_S
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
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


class Stuck:
    """A scorer that waits until it is let go."""

    task: Literal["binary"] = "binary"
    in_process = False

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.free = threading.Event()
        self.calls: list[int] = []
        """Rows of each call."""
        self.calls_before: Callable[[], object] = lambda: None
        """Done before each call, in its thread."""

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        assert self.free.wait(PATIENCE_S)
        self.calls_before()
        self.calls.append(len(X))
        found: np.ndarray[Any, Any] = self._inner.score(X)
        return found

    def close(self) -> None:
        self._inner.close()


def slow(bundle: LoadedBundle) -> tuple[LoadedBundle, Stuck]:
    stuck = Stuck(bundle.scorer)
    return replace(bundle, scorer=stuck, inline=False, quick=False), stuck


def told(served: Served) -> list[tuple[Any, ...]]:
    return [
        (row["version"], row["role"], row["served"], row["route"], row["error"] is not None) for row in served.rows()
    ]


def test_the_champion_answers_for_a_challenger_that_fails(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(1, scores=(0.1, 0.2, 0.3)), 0), ("challenger", pack(2), 100)))
    reply = served.browser.post(INFER, infer_body(NAN_ROW))
    assert reply.status == 200
    assert reply.json()["model_version"] == "1"
    assert reply.json()["outputs"][0]["data"] == [pytest.approx(0.3)]
    assert told(served) == [
        (2, "challenger", False, "split", True),
        (1, "champion", True, "fallback", False),
    ]


def test_the_champion_before_answers_for_a_champion_that_fails(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(2), 100), warm=[pack(1, scores=(0.1, 0.2, 0.3))]))
    reply = served.browser.post(INFER, infer_body(NAN_ROW))
    assert reply.json()["outputs"][0]["data"] == [pytest.approx(0.3)]
    assert told(served) == [(2, "champion", False, "split", True), (1, "fallback", True, "fallback", False)]
    assert served.gateway.metrics.snapshot().fallbacks == {("delay", "error"): 1}


def test_a_declared_score_is_the_last_resort(pack: Packer, table_of: TableOf, infer_body: Body, served: Served) -> None:
    other = type(served)(SegmentLog(served.log.folder.parent / "b"), fallbacks=Fallbacks(value=0.5))  # type: ignore[attr-defined]
    other.serve(table_of(("champion", pack(2), 100)))
    reply = other.browser.post(INFER, infer_body(0, NAN_ROW))
    assert reply.json()["outputs"][0]["data"] == [0.5, 0.5]
    assert told(other) == [
        (2, "champion", False, "split", True),
        (2, "champion", False, "split", True),
        (0, "fallback", True, "fallback", False),
        (0, "fallback", True, "fallback", False),
    ]
    other.browser.close()
    other.log.close()


def test_without_anybody_left_the_request_fails(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(2), 100), warm=[pack(1)]))
    reply = served.browser.post(INFER, infer_body(NAN_ROW))
    assert reply.status == 500
    assert told(served) == [(2, "champion", False, "split", True), (1, "fallback", True, "fallback", True)]


def test_a_value_that_the_client_got_wrong_has_no_fallback(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(2), 100), warm=[pack(1)]))
    body = {"inputs": [{"name": "row", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}
    assert served.browser.post(INFER, body).status == 400
    assert served.rows() == []


def test_a_slow_model_is_answered_for_and_its_late_score_is_a_comparison(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    other = type(served)(SegmentLog(tmp_path / "b"), fallbacks=Fallbacks(slower_than_s=0.01))
    champion, stuck = slow(pack(2, scores=(0.9, 0.9)))
    other.serve(table_of(("champion", champion, 100), warm=[pack(1)]))
    reply = other.browser.post(INFER, infer_body(1))
    assert reply.json()["outputs"][0]["data"] == [pytest.approx(0.8)]
    stuck.free.set()
    assert told(other) == [(1, "fallback", True, "fallback", False), (2, "champion", False, "split", False)]
    assert other.gateway.metrics.snapshot().fallbacks == {("delay", "slow"): 1}
    other.browser.close()
    other.log.close()


def test_requests_gather_while_a_slow_model_scores(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    champion, stuck = slow(pack(1))
    served.serve(table_of(("champion", champion, 100)))
    stuck.free.set()
    replies = served.browser.together([(INFER, infer_body(n % 2)) for n in range(8)])
    assert [reply.status for reply in replies] == [200] * 8
    assert sum(stuck.calls) == 8
    assert len(stuck.calls) <= 2


def test_a_shadow_that_hangs_holds_nobody_up(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    shadow, stuck = slow(pack(2))
    served.serve(table_of(("champion", pack(1), 100), ("shadow", shadow, 0)))
    replies = [served.browser.post(INFER, infer_body(1)) for _ in range(20)]
    assert [reply.status for reply in replies] == [200] * 20
    stuck.free.set()
    assert [row["version"] for row in served.rows()].count(2) == 20


def test_what_a_dropped_model_had_taken_on_is_answered(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    challenger, stuck = slow(pack(2))
    served.serve(table_of(("champion", pack(1), 0), ("challenger", challenger, 100)))
    stuck.calls_before = lambda: served.serve(table_of(("champion", pack(1), 100), number=8))
    stuck.free.set()
    replies = served.browser.together([(INFER, infer_body(1)) for _ in range(6)])
    assert [reply.status for reply in replies] == [200] * 6
    assert served.gateway.metrics.rows_waiting == 0


def test_a_model_that_cannot_keep_up_is_answered_for(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    other = type(served)(SegmentLog(tmp_path / "b"), max_waiting_rows=4096)
    champion, stuck = slow(pack(2))
    before, helper = slow(pack(1))
    helper.calls_before = stuck.free.set  # so the champion is stuck until another answers for it
    helper.free.set()
    other.serve(table_of(("champion", champion, 100), warm=[before]))
    replies = other.browser.together([(INFER, infer_body(*[1] * 1000)) for _ in range(5)])
    assert [reply.status for reply in replies] == [200] * 5
    assert sorted(reply.json()["model_version"] for reply in replies) == ["1", "2", "2", "2", "2"]
    other.browser.close()
    other.log.close()


def test_too_many_waiting_rows_are_sent_away(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    other = type(served)(SegmentLog(tmp_path / "b"), max_waiting_rows=10, durability="acknowledged")
    other.serve(table_of(("champion", pack(1), 100)))
    replies = other.browser.together([(INFER, infer_body(*[1] * 4)) for _ in range(5)])
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 503, 503]
    refused = next(reply for reply in replies if reply.status == 503)
    assert refused.headers["retry-after"] == "1"
    assert len(other.rows()) == 12
    assert other.browser.post(INFER, infer_body(1)).status == 200
    other.browser.close()
    other.log.close()


@pytest.mark.parametrize(("before", "answer"), [(["row", "wind"], (200, 0.3)), (["wind", "row"], (500, None))])
def test_features_in_the_order_of_the_champion_are_scored_by_no_version_of_another_order(
    served: Served, pack: Packer, table_of: TableOf, before: list[str], answer: tuple[int, float | None]
) -> None:
    # given a champion before whose features are the same, in the same order or in another
    champion = pack(2, features=["row", "wind"])
    served.serve(table_of(("champion", champion, 100), warm=[pack(1, scores=(0.1, 0.2, 0.3), features=before)]))
    # when the features of a row come with the request, and the champion fails on it
    body = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [NAN_ROW, 0]}]}
    reply = served.browser.post(INFER, body)
    # then only a version of the same order answers
    status, score = answer
    assert reply.status == status
    if score is not None:
        assert reply.json()["outputs"][0]["data"] == [pytest.approx(score)]
    assert ("fallback" in [row["role"] for row in served.rows()]) == (score is not None)
