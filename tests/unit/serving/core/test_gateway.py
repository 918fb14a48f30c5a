"""The gateway as its clients see it: answers, log rows, comparisons, failures, labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pytest

from trimtab.bundle.spec import Spec
from trimtab.clock import to_micros
from trimtab.errors import DataError, StoreError
from trimtab.serving.core.batching import BATCH_ROWS
from trimtab.serving.core.in_flight import fair_share
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.orders import Gap
from trimtab.stores.predictions.embedded.segment_log import SegmentLog

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def outputs(reply: Any) -> dict[str, list[float]]:
    return {output["name"]: output["data"] for output in reply.json()["outputs"]}


def test_one_row_is_answered_and_logged(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    served.serve(table_of(("champion", pack(3), 100)))
    reply = served.browser.post(INFER, infer_body(1, id="abc"))
    assert reply.status == 200
    assert reply.json()["model_version"] == "3"
    assert reply.json()["id"] == "abc"
    assert reply.json()["parameters"] == {"role": "champion", "revision": 7, "prediction_ids": ["abc"]}
    score = pytest.approx(0.8)
    assert outputs(reply) == {"probability": [score], "label": [1], "confidence": [score]}
    (row,) = served.rows()
    assert row["latency_us"] >= 0
    assert row["cpu_us"] >= 0
    assert row["score"] == outputs(reply)["probability"][0]
    expected = {
        "prediction_id": "abc",
        "model": "delay",
        "version": 3,
        "role": "champion",
        "served": True,
        "revision": 7,
        "event_time": NOW,
        "logged_at": NOW,
        "entities": None,
        "features": [1.0],
        "score": pytest.approx(0.8),
        "confidence": pytest.approx(0.8),
        "error": None,
    }
    assert {name: row[name] for name in expected} == expected


def test_ids_are_made_where_the_client_gives_none(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    ids = [served.browser.post(INFER, infer_body(0)).json()["id"] for _ in range(3)]
    several = served.browser.post(INFER, infer_body(0, 1, id="abc")).json()["parameters"]["prediction_ids"]
    assert len(set(ids)) == 3
    assert all(len(made) == 32 and made[12] == "4" and made[16] in "89ab" for made in ids)
    assert several == ["abc/0", "abc/1"]
    assert [row["prediction_id"] for row in served.rows()] == [*ids, *several]


def test_the_event_time_is_the_timestamp_of_the_row_or_now(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    body = infer_body(0, 0, 0)
    moments = ["2013-01-01T05:00:00-05:00", "2013-01-01", None]
    body["inputs"].append({"name": "moment", "shape": [3], "datatype": "BYTES", "data": moments})
    served.browser.post(INFER, body)
    body["inputs"][1] |= {"datatype": "INT64", "data": [10**14, 0, -(10**14)]}
    served.browser.post(INFER, body)
    assert [row["event_time"].isoformat() for row in served.rows()] == [
        "2013-01-01T10:00:00+00:00",
        "2013-01-01T00:00:00+00:00",
        NOW.isoformat(),
        "1973-03-03T09:46:40+00:00",
        "1970-01-01T00:00:00+00:00",
        "1966-10-31T14:13:20+00:00",
    ]


@pytest.mark.parametrize("wrong", ["yesterday", "", 2**62, "0001-01-01T00:00:00+23:00", "9999-12-31T23:00:00-05:00"])
def test_a_timestamp_that_is_none_is_refused(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, wrong: Any
) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    body = infer_body(0)
    kind = "BYTES" if isinstance(wrong, str) else "INT64"
    body["inputs"].append({"name": "moment", "shape": [1], "datatype": kind, "data": [wrong]})
    reply = served.browser.post(INFER, body)
    assert reply.status == 400
    assert "column 'moment', row 0" in reply.json()["error"]
    assert served.rows() == []


def test_milliseconds_are_no_moment(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    body = infer_body(0)
    body["inputs"].append({"name": "moment", "shape": [1], "datatype": "INT64", "data": [1_370_102_400_000]})
    reply = served.browser.post(INFER, body)
    assert (reply.status, reply.json()["error"]) == (
        400,
        "column 'moment', row 0: 1370102400000 is not a timestamp (as microseconds it is 1970-01-16; as milliseconds "
        "it would be 2013-06-01T16:00:00Z); expected ISO 8601 text such as 2026-01-31T12:00:00Z, or microseconds since "
        "1970 as an integer",
    )
    assert served.rows() == []


def test_an_id_with_control_characters_is_refused(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    for bad, code in (("a\x1b[2J", "U+001B"), ("a\nb", "U+000A"), ("\x9b", "U+009B")):
        reply = served.browser.post(INFER, infer_body(0) | {"id": bad})
        assert (reply.status, code in reply.json()["error"]) == (400, True)
    assert served.browser.post(INFER, infer_body(0) | {"id": "Zürich 7\u00a0\u2009"}).status == 200
    assert len(served.rows()) == 1


def test_entity_keys_are_logged(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    served.serve(table_of(("champion", pack(entity_keys=("carrier", "number")), 100)))
    body = infer_body(0, 1)
    body["inputs"].append({"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["AA", None]})
    body["inputs"].append({"name": "number", "shape": [2], "datatype": "FP64", "data": [5.0, None]})
    served.browser.post(INFER, body)
    assert [row["entities"] for row in served.rows()] == [[("carrier", "AA"), ("number", "5")], None]


def test_requests_of_one_turn_are_one_append(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    replies = served.browser.together([(INFER, infer_body(n % 2, id=f"{n}")) for n in range(40)])
    batches = SegmentLog(tmp_path / "log").read(limit=1)[0]
    assert batches.num_rows == 40
    assert [outputs(reply)["label"] for reply in replies] == [[n % 2] for n in range(40)]


def test_a_bad_value_harms_only_its_own_request(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(scores=(0.1, 0.8, float("nan"))), 100)))
    text = {"inputs": [{"name": "row", "shape": [1], "datatype": "BYTES", "data": ["x"]}], "id": "text"}
    missing = {"inputs": [{"name": "rwo", "shape": [1], "datatype": "INT64", "data": [1]}], "id": "missing"}
    wide = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}], "id": "wide"}
    bodies = [infer_body(1, id="good"), text, missing, wide, infer_body(2, id="nan"), infer_body(9, id="fails")]
    replies = served.browser.together([(INFER, body) for body in [*bodies, infer_body(0, id="also")]])
    errors = [reply.json().get("error", "") for reply in replies]
    assert [reply.status for reply in replies] == [200, 400, 400, 400, 500, 500, 200]
    assert "column 'row', row 0: 'x' is not a number" in errors[1]
    assert "request column 'row' is missing; 'rwo' was sent: did you mean 'row'?" in errors[2]
    assert "each row has 2 features; model 'delay' version 1 takes 1: row" in errors[3]
    assert "version 1 gave nan" in errors[4]
    assert "version 1 failed to score: InvalidArgument" in errors[5]
    rows = {row["prediction_id"]: row for row in served.rows()}
    assert rows.keys() == {"good", "nan", "fails", "also"}
    assert [rows[name]["error"] is None for name in ("good", "nan", "fails", "also")] == [True, False, False, True]
    assert rows["nan"]["score"] is rows["fails"]["score"] is None
    assert [rows[name]["features"] for name in ("good", "nan", "fails")] == [[1.0], [2.0], [9.0]]


class Faulty:
    """A vectorizer that raises what it is told to by the row's value, beside real answers."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        pass

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        for value in columns["row"]:
            if value < 0:
                faults = {
                    -1: DataError("no such carrier"),
                    -2: StoreError("is away"),
                    -3: KeyError("k"),
                    -4: RuntimeError(""),
                    -5: SystemExit(3),
                }
                raise faults[value]
        return np.array([columns["row"]], dtype=np.float32).T


def test_features_that_fail_are_told_apart(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    served.serve(table_of(("champion", pack(vectorizer=Faulty), 100)))
    replies = served.browser.together([(INFER, infer_body(value, id=f"{value}")) for value in (0, -1, -2, -3, -4, -5)])
    assert [reply.status for reply in replies] == [200, 400, 503, 500, 500, 500]
    assert replies[1].json() == {"error": "no such carrier"}
    assert {row["prediction_id"]: row["error"] for row in served.rows()} == {
        "0": None,
        "-2": "the features of model 'delay' failed: StoreError: is away",
        "-3": "the features of model 'delay' failed: KeyError: 'k'",
        "-4": "the features of model 'delay' failed: RuntimeError: no message",
        "-5": "the features of model 'delay' failed: RuntimeError: they called sys.exit(3)",
    }


def test_champion_and_challenger_both_score_every_row(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    champion, challenger = pack(1, scores=(0.1,)), pack(2, scores=(0.9,))
    served.serve(table_of(("champion", champion, 70), ("challenger", challenger, 30)))
    ids = [f"id{n}" for n in range(60)]
    replies = served.browser.together([(INFER, infer_body(0, id=name)) for name in ids])
    answered = {reply.json()["id"]: int(reply.json()["model_version"]) for reply in replies}
    rows = served.rows()
    assert {(row["prediction_id"], row["version"]) for row in rows} == {(name, v) for name in ids for v in (1, 2)}
    assert len(rows) == 120
    assert all(row["served"] == (answered[row["prediction_id"]] == row["version"]) for row in rows)
    assert all(row["role"] == ("champion", "challenger")[row["version"] - 1] for row in rows)
    assert all(row["score"] == pytest.approx((0.1, 0.9)[row["version"] - 1]) for row in rows)
    assert set(answered.values()) == {1, 2}


def test_what_fails_beside_the_answer_is_logged_and_harms_nothing(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    shadow = pack(2, scores=(0.9,), features=["row", "wind"], request_columns=("row", "wind"))
    served.serve(table_of(("champion", pack(1), 100), ("shadow", shadow, 0)))
    replies = served.browser.together([(INFER, infer_body(1, id="a"))])
    assert replies[0].status == 200
    beside = [row for row in served.rows() if not row["served"]]
    assert [(row["prediction_id"], row["role"], row["version"], row["score"]) for row in beside] == [
        ("a", "shadow", 2, None)
    ]
    assert "request column 'wind' is missing" in beside[0]["error"]


class Counting:
    """A vectorizer that counts its calls."""

    calls = 0

    def __init__(self, folder: Path, spec: Spec) -> None:
        pass

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        Counting.calls += 1
        return np.array([columns["row"]], dtype=np.float32).T


@pytest.mark.parametrize(("code_hash", "calls"), [("same", 1), ("other", 2)])
def test_bundles_with_one_recipe_share_vectors(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, code_hash: str, calls: int
) -> None:
    champion = pack(1, vectorizer=Counting, code_hash="same")
    shadow = pack(2, vectorizer=Counting, code_hash=code_hash)
    served.serve(table_of(("champion", champion, 100), ("shadow", shadow, 0)))
    Counting.calls = 0
    served.browser.together([(INFER, infer_body(n % 2)) for n in range(5)])
    assert len(served.rows()) == 10
    assert Counting.calls == calls


def test_rows_of_one_request_may_be_answered_by_several_roles(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    champion = pack(1, scores=(0.1, 0.2), entity_keys=("carrier",))
    challenger = pack(2, scores=(0.8, 0.9), entity_keys=("carrier",), threshold=0.85)
    served.serve(table_of(("champion", champion, 50), ("challenger", challenger, 50)))
    body = infer_body(*[n % 2 for n in range(20)], id="a")
    carriers = [f"C{n}" for n in range(20)]
    body["inputs"].append({"name": "carrier", "shape": [20], "datatype": "BYTES", "data": carriers})
    reply = served.browser.together([(INFER, body)])[0]
    versions = reply.json()["parameters"]["versions"]
    assert reply.json()["parameters"]["role"] == "mixed"
    assert reply.json()["model_version"] == "1"
    assert set(versions) == {1, 2}
    scores = outputs(reply)["probability"]
    assert scores == pytest.approx([(0.1, 0.2)[n % 2] + 0.7 * (versions[n] == 2) for n in range(20)])
    assert outputs(reply)["label"] == [int(versions[n] == 2 and n % 2 == 1) for n in range(20)]
    rows = served.rows()
    assert len(rows) == 40
    given = {f"a/{n}": carriers[n] for n in range(20)}
    assert all(row["entities"] == [("carrier", given[row["prediction_id"]])] for row in rows)
    assert {(row["prediction_id"], row["version"]) for row in rows if row["served"]} == {
        (f"a/{n}", versions[n]) for n in range(20)
    }


def test_a_pinned_version_answers(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    champion, warm = pack(2, scores=(0.1,)), pack(1, scores=(0.9,))
    served.serve(table_of(("champion", champion, 100), warm=[warm]))
    reply = served.browser.post("/v2/models/delay/versions/1/infer", infer_body(0))
    missing = served.browser.post("/v2/models/delay/versions/5/infer", infer_body(0))
    assert reply.json()["model_version"] == "1"
    assert reply.json()["parameters"]["role"] == "shadow"
    assert missing.status == 404
    assert {(row["version"], row["served"]) for row in served.rows()} == {(1, True), (2, False)}


def test_a_long_request_takes_several_batches(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    served.serve(table_of(("champion", pack(1, scores=(0.1, 0.8)), 100), ("shadow", pack(2, scores=(0.3, 0.4)), 0)))
    rows = 2 * BATCH_ROWS + 10
    reply = served.browser.post(INFER, infer_body(*[n % 2 for n in range(rows)], id="a"))
    assert outputs(reply)["label"] == [n % 2 for n in range(rows)]
    served.gateway.close()
    logged = served.rows()
    assert {(row["prediction_id"], row["version"]) for row in logged} == {
        (f"a/{n}", version) for n in range(rows) for version in (1, 2)
    }
    assert len(logged) == 2 * rows
    assert SegmentLog(tmp_path / "log").read(limit=1)[0].num_rows == rows


def test_a_bad_value_late_in_a_long_request_fails_it_whole(served: Served, pack: Packer, table_of: TableOf) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    body = {"inputs": {"row": [0] * (BATCH_ROWS + 5) + ["x"]}}
    reply = served.browser.post("/invocations", body, content_type="application/json")
    assert reply.status == 400
    assert f"row {BATCH_ROWS + 5}:" in reply.json()["message"]  # as the client counts them
    assert served.rows() == []


def test_a_column_called_as_a_row_keeps_its_name_in_errors(served: Served, pack: Packer, table_of: TableOf) -> None:
    served.serve(table_of(("champion", pack(features=["row 7"], request_columns=("row 7",)), 100)))
    body = {"inputs": {"row 7": [0] * (BATCH_ROWS + 5) + ["row 3: x"]}}
    reply = served.browser.post("/invocations", body, content_type="application/json")
    assert reply.json()["message"] == f"column 'row 7', row {BATCH_ROWS + 5}: 'row 3: x' is not a number"


def test_a_batch_of_the_most_rows_is_taken_beside_short_requests_and_refuses_none(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    other = type(served)(SegmentLog(tmp_path / "other"), max_rows=4 * BATCH_ROWS, max_waiting_rows=10)
    other.serve(table_of(("champion", pack(1), 100)))
    one, most = (INFER, infer_body(0)), (INFER, infer_body(*[1] * 4 * BATCH_ROWS))
    replies = other.browser.together([one, most, one, one, most, one, most])
    assert [reply.status for reply in replies] == [200, 200, 200, 200, 200, 200, 503]
    assert replies[-1].headers["retry-after"] == "1"
    assert other.gateway.metrics.rows_waiting == 0
    assert other.browser.post(*most).status == 200
    other.browser.close()
    other.log.close()


def test_short_requests_go_before_what_others_send_in_bulk_and_the_oldest_is_never_passed_over() -> None:
    class Piece(NamedTuple):
        name: str
        rows: int

    bulk = [Piece(f"bulk {n}", 1010) for n in range(5)]
    waiting = [*bulk, Piece("quiet", 1), Piece("other", 20)]
    order = []
    while waiting:
        now, waiting = fair_share(waiting, 1024)  # type: ignore[type-var]  # it needs rows alone
        order.append([piece.name for piece in now])
    assert order == [["bulk 0", "quiet", "other"], ["bulk 1", "bulk 2"], ["bulk 3", "bulk 4"]]


def test_a_regression_gives_values(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    served.serve(table_of(("champion", pack(task="regression", scores=(0.25, -40.5)), 100)))
    assert outputs(served.browser.post(INFER, infer_body(1))) == {"prediction": [-40.5]}
    assert served.browser.post("/v2/models/delay/feedback", {"id": "a", "label": -3.5}).status == 200
    (row,) = served.rows()
    assert (row["score"], row["confidence"]) == (-40.5, None)


class FullDisk(SegmentLog):
    """A log that refuses rows while its disk is full."""

    full = False

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        if self.full and columns["prediction_id"]:
            raise StoreError("no space left on device")
        super().append(columns)

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        if self.full:
            raise StoreError("no space left on device")
        super().append_labels(columns)


class Flushed(SegmentLog):
    """A log that counts its flushes."""

    flushes = 0
    broken = False

    def sync(self) -> None:
        if self.broken:
            raise StoreError("input/output error")
        self.flushes += 1
        super().sync()


def test_where_the_policy_says_so_what_cannot_be_logged_is_not_answered(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    log = FullDisk(tmp_path / "full")
    other = type(served)(log, when_full="refuse")
    other.serve(table_of(("champion", pack(1), 100), ("shadow", pack(2), 0)))
    gaps: list[Gap] = []
    other.gateway.journal.on_gap = gaps.append
    log.full = True
    replies = other.browser.together([(INFER, infer_body(1)), (INFER, infer_body(0))])
    label = other.browser.post("/v2/models/delay/feedback", {"id": "a", "label": 1})
    other.gateway.settle()
    log.full = False
    after = other.browser.post(INFER, infer_body(1))
    assert [reply.status for reply in replies] == [503, 503]
    assert other.gateway.metrics.counts.gap_rows == 0  # nobody was given an answer that is lost
    assert gaps == []
    assert "no space left on device" in replies[0].json()["error"]
    assert label.status == 503
    assert after.status == 200
    assert [row["version"] for row in other.rows()] == [1, 2]
    other.browser.close()
    log.close()


def test_no_row_of_a_request_is_given_when_some_could_not_be_logged(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    log = FullDisk(tmp_path / "full")
    other = type(served)(log, when_full="refuse")
    other.serve(table_of(("champion", pack(1), 50), ("challenger", pack(2), 50), sticky=["row"]))
    log.full = True
    reply = other.browser.post(INFER, infer_body(*[0, 1] * 20))
    assert reply.status == 503
    other.browser.close()
    log.close()


def test_answers_wait_for_the_disk(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    log = Flushed(tmp_path / "flushed")
    other = type(served)(log, durability="acknowledged", when_full="refuse")
    other.serve(table_of(("champion", pack(1), 100)))
    assert other.browser.post(INFER, infer_body(1)).status == 200
    assert log.flushes == 1
    log.broken = True
    assert other.browser.post(INFER, infer_body(1)).status == 503
    assert other.gateway.metrics.counts.gap_rows == 0
    log.broken = False
    other.browser.close()
    log.close()


def test_labels_wait_for_the_disk(served: Served, pack: Packer, table_of: TableOf, tmp_path: Path) -> None:
    log = Flushed(tmp_path / "flushed")
    other = type(served)(log, durability="acknowledged")
    other.serve(table_of(("champion", pack(1), 100)))
    assert other.browser.post("/v2/models/delay/feedback", {"id": "a", "label": 1}).status == 200
    assert log.flushes == 1
    other.browser.close()
    log.close()


def test_a_full_disk_stops_no_answers_and_leaves_a_gap_on_record(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body, tmp_path: Path
) -> None:
    log = FullDisk(tmp_path / "full")
    other = type(served)(log)
    other.serve(table_of(("champion", pack(1), 100), ("shadow", pack(2), 0)))
    gaps: list[Gap] = []
    other.gateway.journal.on_gap = gaps.append
    log.full = True
    replies = other.browser.together([(INFER, infer_body(1)), (INFER, infer_body(0, 1))])
    other.gateway.settle()
    other.clock.sleep(5)
    assert gaps == []
    log.full = False
    other.browser.post(INFER, infer_body(1))
    other.gateway.settle()
    assert [reply.status for reply in replies] == [200, 200]
    (gap,) = gaps
    assert (gap.rows, "no space left" in gap.reason, gap.start) == (3, True, to_micros(NOW))
    assert other.gateway.metrics.counts.gap_rows == 3
    assert [row["version"] for row in other.rows()] == [1, 2]
    other.browser.close()
    log.close()


def test_labels_are_logged_when_they_are_acknowledged(served: Served, pack: Packer, table_of: TableOf) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    one = served.browser.post("/v2/models/delay/feedback", {"id": "a", "label": 1, "known_at": "2026-02-01"})
    labels = [{"id": "b", "label": 0, "known_at": 0}, {"id": "c", "label": True}]
    several = served.browser.post("/v2/models/delay/feedback", {"labels": labels})
    assert (one.json(), several.json()) == ({"accepted": 1}, {"accepted": 2})
    rows = served.log.read_labels()[0].to_pylist()
    assert [(row["prediction_id"], row["label"]) for row in rows] == [("a", 1.0), ("b", 0.0), ("c", 1.0)]
    assert [row["known_at"].isoformat() for row in rows] == [
        "2026-02-01T00:00:00+00:00",
        "1970-01-01T00:00:00+00:00",
        NOW.isoformat(),
    ]
    assert {row["received_at"] for row in rows} == {NOW}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"id": "b", "label": 2}, "labels[1].label is 2.0; expected 0 or 1"),
        ({"id": "b"}, "labels[1].label is null; expected a number"),
        ({"id": "b", "label": "1"}, "labels[1].label is '1'; expected 0 or 1"),
        ({"id": "b", "label": 10**400}, "labels[1].label"),
        ({"label": 1}, "labels[1].id is null"),
        ({"id": "", "label": 1}, "labels[1].id is ''"),
        ({"id": "b", "label": 1, "known_at": "soon"}, "labels[1].known_at is 'soon'"),
        ({"id": "b", "label": 1, "known_at": 2**63}, "labels[1].known_at"),
        ({"id": "b", "label": 1, "known_at": True}, "labels[1].known_at"),
    ],
)
def test_a_bad_label_is_named_and_none_is_logged(
    served: Served, pack: Packer, table_of: TableOf, label: dict[str, Any], message: str
) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    reply = served.browser.post("/v2/models/delay/feedback", {"labels": [{"id": "a", "label": 1}, label]})
    assert reply.status == 400
    assert message in reply.json()["error"]
    assert served.log.read_labels()[0].num_rows == 0


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"labels":5}', b'{"labels":[]}', b'{"labels":[5]}', b"[" * 5000, b"\xff"]
)
def test_malformed_feedback_is_refused(served: Served, pack: Packer, table_of: TableOf, body: bytes) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    assert served.browser.post("/v2/models/delay/feedback", body).status == 400


def test_a_swap_takes_effect_between_requests(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    first, second = pack(1, scores=(0.1,)), pack(2, scores=(0.9,))
    for number, bundle in enumerate([first, second, first]):
        served.serve(table_of(("champion", bundle, 100), number=number))
        served.browser.post(INFER, infer_body(0))
    assert [(row["version"], row["revision"]) for row in served.rows()] == [(1, 0), (2, 1), (1, 2)]


def test_mlflow_is_answered_by_the_named_model(served: Served, pack: Packer, table_of: TableOf) -> None:
    served.serve(
        table_of(("champion", pack(scores=(0.1,)), 100)),
        table_of(("champion", pack(model="fraud", scores=(0.9,)), 100)),
    )
    body = {"dataframe_records": [{"row": 0}]}
    found = served.browser.post("/invocations", body, content_type="application/json", x_trimtab_model="fraud")
    unnamed = served.browser.post("/invocations", body, content_type="application/json")
    csv = served.browser.post("/invocations", b"row\n0\n0\n", content_type="text/csv", x_trimtab_model="delay")
    assert found.json() == {"predictions": [pytest.approx(0.9)]}
    assert csv.json() == {"predictions": [pytest.approx(0.1)] * 2}
    assert (unnamed.status, unnamed.json()["error_code"]) == (400, "BAD_REQUEST")
    assert msgspec.json.decode(unnamed.body).keys() == {"error_code", "message"}
