"""Asks the real gateway for the scores of some rows, and compares them with those of the bundle in this process."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.delivery.gateway_requests import Answer, GatewayRequests, wait_until_ready
from trimtab.app.delivery.outcomes import Checks, Warned
from trimtab.app.delivery.started_gateway import started_gateway
from trimtab.app.gateway.request_bodies import request_bodies
from trimtab.app.project.own_models import open_own
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.feature_audit import audit
from trimtab.app.stages.served_features import served_matrix
from trimtab.bundle.limits import checked
from trimtab.errors import CheckFailed
from trimtab.metric_catalog import Task
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.predictions.contract import START
from trimtab.units import plural

ASKED = 5
"""Rows of each model that the gateway is asked for: the newest examples."""
START_S = 120.0
ANSWER_S = 60.0
RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""How far scores of one row and of several may differ: runtimes compute in float32, in another order."""
SCORES: dict[Task, str] = {
    "binary": "probability",
    "multiclass": "probabilities",
    "regression": "prediction",
    "anomaly": "anomaly_score",
}
"""The output that has the scores."""


def ask_gateway(workspace: Workspace, bundles: list[Bundle], checks: Checks) -> None:
    """Start the gateway of a scratch copy, and check the answers of each of its models."""
    with ExitStack() as stack:

        def start() -> tuple[GatewayRequests, str]:
            url = stack.enter_context(started_gateway(workspace, "local", wait_s=START_S))
            gateway = GatewayRequests(url)
            wait_until_ready(gateway, workspace.clock, START_S)
            return gateway, f"serves {plural(len(bundles), 'model')}"

        gateway = checks.run("gateway", "ready", start)
        for bundle in bundles:
            group = f"model {bundle.model}"
            if gateway is None:
                checks.skip(group, "served scores", "no gateway")
                continue
            checks.run(group, "served scores", partial(_scores, workspace, gateway, bundle))
            if bundle.views:
                checks.run(group, "served features", partial(_features, workspace, bundle))


def _scores(workspace: Workspace, gateway: GatewayRequests, bundle: Bundle) -> tuple[bool, str]:
    model = workspace.model(bundle.model)
    names = dict.fromkeys((*model.request_columns, model.examples.timestamp))
    examples = workspace.scan()(model.examples.name).select(*names).collect()
    rows = examples.sort(model.examples.timestamp, maintain_order=True).tail(ASKED)
    ids = [f"test-{bundle.model}-{n}" for n in range(rows.height)]
    path = f"/v2/models/{bundle.model}/infer"
    answers = [gateway.post(path, body, timeout_s=ANSWER_S) for body in request_bodies(model, rows, ids)]
    refused = next((answer for answer in answers if answer.status != 200), None)
    if refused is not None:
        raise CheckFailed(f"an example was answered with status {refused.status}: {refused.shown()}")
    scorer, spec = open_own(workspace, workspace.artifacts.open(bundle.path))
    answered = np.array([scores_of(answer, spec.task) for answer in answers])
    logged = _logged(workspace, bundle, ids)
    try:
        own = np.atleast_1d(checked(scorer, spec).score(logged)).reshape(len(ids), -1)
    finally:
        scorer.close()
    if not np.allclose(answered, own, rtol=RELATIVE, atol=ABSOLUTE):
        row = int(np.argmax(np.abs(answered - own).max(axis=1)))
        raise CheckFailed(
            f"the gateway answers {answered[row].tolist()} and the bundle in this process {own[row].tolist()} for the "
            "same features"
        )
    return True, f"{plural(len(ids), 'answer')} as from the bundle in this process"


def scores_of(answer: Answer, task: Task) -> list[float]:
    """Return the scores of one row in an answer of the Open Inference Protocol. Raises DataError, CheckFailed."""
    outputs: dict[str, Any] = {each["name"]: each["data"] for each in answer.json()["outputs"]}
    if SCORES[task] not in outputs:
        raise CheckFailed(f"the answer has no output '{SCORES[task]}'; it has {', '.join(outputs)}")
    return [float(value) for value in outputs[SCORES[task]]]


def _logged(workspace: Workspace, bundle: Bundle, ids: list[str]) -> Any:
    """Return the features by which the gateway scored requests, in the order of their ids."""
    block, _ = workspace.predictions.read(START)
    own = block.filter(pc.and_(pc.equal(block["model"], bundle.model), block["served"]))
    own = own.filter(pc.is_in(own["prediction_id"], pa.array(ids, type=own.schema.field("prediction_id").type)))
    rows = pl.DataFrame({name: pl.from_arrow(own[name]) for name in ("prediction_id", "features", "typed")})
    order = pl.DataFrame({"prediction_id": ids}).join(rows, on="prediction_id", how="inner", maintain_order="left")
    dataset = workspace.metadata.get(DatasetVersion, bundle.dataset)
    found, features = served_matrix(dataset, order)
    if features is None or found.height != len(ids):
        raise CheckFailed(f"the prediction log has {found.height} of {len(ids)} answers with their features")
    return features


def _features(workspace: Workspace, bundle: Bundle) -> tuple[bool, str]:
    """Compare the features that were served with those that a training set has."""
    found = audit(workspace, workspace.model(bundle.model))
    if found.unexplained:
        each = next(each for each in found.differences if each.cause == "unexplained")
        example = each.examples[0] if each.examples else None
        shown = "" if example is None else f": served {example.served}, in training {example.now}"
        raise CheckFailed(f"feature '{each.feature}' differs from that of a training set in {each.rows} answers{shown}")
    if found.differences:
        causes = ", ".join(sorted({each.cause for each in found.differences}))
        raise Warned(f"some differ from those of a training set: {causes}", value=True)
    return True, f"{plural(len(found.compared), 'feature')} of {plural(found.audited, 'answer')} as in training"
