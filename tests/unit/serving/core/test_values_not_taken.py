"""Values that a model does not take are refused with row and column before the model is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trimtab.bundle.limits import FLOAT32_MAX
from trimtab.bundle.spec import Limits, Spec
from trimtab.serving.core.batching import BATCH_ROWS
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"
REFUSES = Limits(
    no_null=("row",), highest={"row": FLOAT32_MAX}, lowest={"row": -5.0}, categories={"shop": (10.0, 20.0)}
)


def post(served: Served, *records: dict[str, Any], **headers: str) -> Any:
    return served.browser.post("/invocations", {"dataframe_records": list(records)}, content_type="application/json")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"row": None, "shop": 10},
            "column 'row', row 1 has no value, and model 'delay' version 1 takes no missing value there",
        ),
        (
            {"row": 1e39, "shop": 10},
            "column 'row', row 1: 1e39 is out of range; model 'delay' version 1 takes finite numbers only, up to "
            "3.4028235e+38 there",
        ),
        (
            {"row": -6, "shop": 10},
            "column 'row', row 1: -6 is out of range; model 'delay' version 1 takes no less than -5 there",
        ),
        (
            {"row": 1, "shop": 15},
            "column 'shop', row 1: 15 is none of the values that model 'delay' version 1 knows: 10, 20",
        ),
        ({"row": 1, "shop": None}, None),
    ],
)
def test_a_value_is_refused_with_row_and_column(
    served: Served, pack: Packer, table_of: TableOf, record: dict[str, Any], message: str | None
) -> None:
    bundle = pack(1, features=["row", "shop"], request_columns=("row", "shop"), limits=REFUSES)
    served.serve(table_of(("champion", bundle, 100)))
    reply = post(served, {"row": 0, "shop": 20}, record)
    assert (reply.status, reply.json().get("message")) == (200 if message is None else 400, message)
    assert len(served.rows()) == (2 if message is None else 0), "what is refused is neither logged nor counted"


def test_one_client_s_bad_row_fails_nobody_else_in_the_same_turn(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(1, limits=REFUSES), 100)))
    bodies = [infer_body(0), infer_body(None), infer_body(1), infer_body(0, None, 1, None)]
    replies = served.browser.together([(INFER, body) for body in bodies])
    assert [reply.status for reply in replies] == [200, 400, 200, 400]
    assert replies[3].json()["error"].startswith("column 'row', row 1 has no value")
    assert replies[3].json()["error"].endswith("; 2 of the 4 rows are refused")
    assert [row["score"] for row in served.rows()] == pytest.approx([0.1, 0.8])


def test_a_row_of_a_long_request_is_named_by_its_place_in_it(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(1, limits=REFUSES), 100)))
    rows: list[float | None] = [0.0] * (BATCH_ROWS + 10)
    rows[BATCH_ROWS + 3] = rows[BATCH_ROWS + 5] = None
    reply = served.browser.post(INFER, infer_body(*rows))
    assert reply.status == 400
    assert f"row {BATCH_ROWS + 3} has no value" in reply.json()["error"]
    assert reply.json()["error"].endswith(f"; 2 of rows {BATCH_ROWS} to {BATCH_ROWS + 9} are refused")
    assert served.rows() == [], "none is scored"


def test_features_that_come_as_a_matrix_are_checked_too(served: Served, pack: Packer, table_of: TableOf) -> None:
    served.serve(table_of(("champion", pack(1, limits=REFUSES), 100)))
    replies = [served.browser.post("/v1/models/delay:predict", {"instances": [[0], [bad]]}) for bad in (None, 1e39)]
    assert [reply.status for reply in replies] == [400, 400]
    assert replies[0].json()["error"].startswith("feature 'row', row 1 has no value")
    assert replies[1].json()["error"].startswith("feature 'row', row 1: inf is out of range")


def test_infinity_is_told_as_infinity(served: Served, pack: Packer, table_of: TableOf) -> None:
    served.serve(table_of(("champion", pack(1, request_columns=("row",), limits=REFUSES), 100)))
    for sent, told in ((b"Infinity", "inf"), (b"-Infinity", "-inf"), (b"1e300", "1e300")):
        body = b'{"instances": [{"row": %s}]}' % sent
        error = served.browser.post("/v1/models/delay:predict", body).json()["error"]
        assert error.startswith(f"column 'row', row 0: {told} is out of range; model 'delay' version 1")


class Nothing:
    """A vectorizer of views that know nothing of a key."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        pass

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        return np.array([[math.nan if value == 9 else value] for value in columns["key"]], dtype=np.float32)


def test_a_feature_that_the_views_lack_is_named(served: Served, pack: Packer, table_of: TableOf) -> None:
    bundle = pack(1, features=["row"], request_columns=("key",), vectorizer=Nothing, limits=REFUSES)
    served.serve(table_of(("champion", bundle, 100)))
    reply = post(served, {"key": 1}, {"key": 9})
    assert reply.status == 400
    assert reply.json()["message"].startswith("feature 'row', row 1 has no value, and model 'delay' version 1 takes")


def test_rows_that_a_challenger_does_not_take_are_answered_by_the_champion(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    # given a challenger with all of the traffic that takes less than the champion
    champion, challenger = pack(1, scores=(0.3, 0.4)), pack(2, limits=Limits(highest={"row": 0.5}))
    served.serve(table_of(("champion", champion, 0), ("challenger", challenger, 100)))

    # then the champion answers such rows, and the challenger is not counted as having failed
    replies = [served.browser.post(INFER, infer_body(value)) for value in (0, 1)]
    assert [reply.json()["model_version"] for reply in replies] == ["2", "1"]
    assert "version 2: column 'row', row 0: 1 is out of range" in replies[1].json()["parameters"]["fallback"]
    logged = [(row["version"], row["route"], row["served"], row["error"]) for row in served.rows() if row["served"]]
    assert logged == [(2, "split", True, None), (1, "fallback", True, None)]
    assert not [row for row in served.rows() if row["error"]]

    # and a version that is asked for by number answers for itself
    assert served.browser.post("/v2/models/delay/versions/2/infer", infer_body(1)).status == 400


def test_what_the_champion_does_not_take_has_no_fallback(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    champion = pack(2, limits=Limits(highest={"row": 0.5}))
    served.serve(table_of(("champion", champion, 100), warm=[pack(1)]))
    assert served.browser.post(INFER, infer_body(1)).status == 400


def test_what_a_shadow_does_not_take_is_no_failure_of_it(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    shadow = pack(2, limits=Limits(highest={"row": 0.5}))
    served.serve(table_of(("champion", pack(1), 100), ("shadow", shadow, 0)))
    for value in (0, 1):
        assert served.browser.post(INFER, infer_body(value, id=f"id-{value}")).status == 200
    beside = [(row["prediction_id"], row["error"]) for row in served.rows() if row["role"] == "shadow"]
    assert beside == [("id-0", None)]
