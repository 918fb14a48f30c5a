"""Why a score is what it is: for the rows of a request, and for an earlier prediction by its id."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trimtab.bundle.calibration import Calibration
from trimtab.runtimes.shadow_process import open_shadow
from trimtab.serving.core.explaining import Explanations
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.stores.predictions.embedded.segment_log import SegmentLog

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"
SCORES = (0.1, 0.8, 0.4)
BACKGROUND = ((0.0,), (1.0,), (2.0,))
MEAN = sum(SCORES) / 3


def explained(pack: Packer, version: int = 1) -> LoadedBundle:
    return pack(version, scores=SCORES, background=BACKGROUND)


def test_the_rows_of_a_request_are_explained(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    served.serve(table_of(("champion", explained(pack), 100)))
    reply = served.browser.post(INFER, infer_body(0, 1, parameters={"explain": True}))
    assert reply.status == 200
    outputs = {output["name"]: output for output in reply.json()["outputs"]}
    # of one feature, all of the difference to the mean of the background is its own
    assert outputs["contributions"]["data"] == pytest.approx([SCORES[0] - MEAN, SCORES[1] - MEAN], abs=1e-6)


def test_an_earlier_prediction_is_explained_by_its_id(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", explained(pack), 100)))
    served.browser.post(INFER, infer_body(1, id="abc"))
    reply = served.browser.get("/v2/models/delay/predictions/abc/explanation")
    assert reply.status == 200
    assert reply.json()["base"] == pytest.approx(MEAN, abs=1e-6)
    assert served.browser.get("/v2/models/delay/predictions/none/explanation").status == 404


def test_a_version_that_is_gone_cannot_explain(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", explained(pack, 1), 100)))
    served.browser.post(INFER, infer_body(1, id="abc"))
    served.serve(table_of(("champion", explained(pack, 2), 100)))
    assert served.browser.get("/v2/models/delay/predictions/abc/explanation").status == 410


def test_explainers_of_what_serves_no_more_are_forgotten(pack: Packer, tmp_path: Path) -> None:
    # given explainers of two bundles, and one that is opened when its bundle has gone
    explanations = Explanations(SegmentLog(tmp_path / "log"))
    bundles = [explained(pack, version) for version in (1, 2, 3)]
    row = np.zeros((1, 1), dtype=np.float32)
    for bundle in bundles[:2]:
        explanations._compute(bundle, row)
    explanations.keep(bundles[1:2])
    explanations._compute(bundles[2], row)
    # then only what serves is held
    gone = weakref.ref(bundles[0])
    del bundles[0], bundle
    assert gone() is None
    assert list(explanations._explainers) == bundles[:1]
    explanations.close()


def test_a_bundle_without_background_says_so(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    served.serve(table_of(("champion", pack(1), 100)))
    reply = served.browser.post(INFER, infer_body(1, parameters={"explain": True}))
    assert (reply.status, "background" in reply.json()["error"]) == (400, True)


def test_a_calibrated_regression_gives_intervals(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    calibration = Calibration(rows=100, coverages=(0.8, 0.9), half_widths=(1.0, 2.5))
    served.serve(table_of(("champion", pack(task="regression", scores=(10.0, 20.0), calibration=calibration), 100)))
    reply = served.browser.post(INFER, infer_body(0, 1, parameters={"coverage": 0.85}))
    outputs = {output["name"]: output["data"] for output in reply.json()["outputs"]}
    assert (outputs["lower"], outputs["upper"]) == ([7.5, 17.5], [12.5, 22.5])
    more = served.browser.post(INFER, infer_body(0, parameters={"coverage": 0.99}))
    assert more.status == 400
    assert "100 rows" in more.json()["error"], more.json()


def test_a_classifier_has_no_intervals(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    served.serve(table_of(("champion", pack(1), 100)))
    assert served.browser.post(INFER, infer_body(0, parameters={"coverage": 0.9})).status == 400


def test_a_model_whose_process_is_away_cannot_explain_now(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    # given a shadow in a process of its own that is closed while it explains
    bundle = explained(pack, 2)
    apart = open_shadow(bundle.folder, bundle.spec, bundle.scorer)
    shadow = replace(bundle, scorer=apart, inline=False, quick=False, aside=True)
    served.serve(table_of(("champion", explained(pack, 1), 100), ("shadow", shadow, 0)))
    body = infer_body(0, parameters={"explain": True})
    found = served.browser.post(INFER, body, x_trimtab_version="2").json()
    outputs = {output["name"]: output["data"] for output in found["outputs"]}
    assert outputs["contributions"] == pytest.approx([SCORES[0] - MEAN], abs=1e-6)
    assert not apart.in_process
    served.browser.post(INFER, infer_body(1, id="abc"), x_trimtab_version="2")
    apart.close()
    # then it says that it is away, and not that there is nothing to explain
    reply = served.browser.get("/v2/models/delay/predictions/abc/explanation")
    assert (reply.status, "the model was closed" in reply.json()["error"]) == (503, True)
