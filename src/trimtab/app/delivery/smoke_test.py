"""A smoke test of a running gateway by HTTP: is it ready, and does each model serve what the records say?

Requests pin a version, so the prediction log has them as pinned: they judge no model, and no window counts them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np
import polars as pl

from trimtab.app.delivery.gateway_requests import Answer, GatewayRequests, wait_until_ready
from trimtab.app.delivery.outcomes import Checks, Skipped
from trimtab.app.delivery.served_scores import ABSOLUTE, RELATIVE, scores_of
from trimtab.app.gateway.request_bodies import request_bodies
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.manifest import verify
from trimtab.bundle.spec import Spec, read_spec
from trimtab.errors import CheckFailed, NotFound
from trimtab.records.serving import Assignment, Revision
from trimtab.records.training import Bundle
from trimtab.serving.protocols.v2.model_metadata import inputs_of, outputs_of
from trimtab.serving.protocols.v2.tensors import FEATURES
from trimtab.stores.metadata.contract import latest
from trimtab.tasks import RULES
from trimtab.units import MICROS

TRIES = 3
"""The quickest of so many answers is measured."""
LIMITS = 10
"""Times the policy's p99 that an answer may take."""
POLL_S = 0.2
REFERENCE, SCORE = "reference/rows.parquet", "score"
ANSWERING = ("champion", "challenger")


@dataclass(frozen=True, kw_only=True)
class SmokeOptions:
    """What is tested.

    model: one model; None: all that serve by the records. version: it must be among the versions that serve, and is
    tested alone; None: all of them. wait_s: how long the gateway may take to be ready and to follow the newest
    revision.
    """

    model: str | None = None
    version: int | None = None
    wait_s: float = 60.0


def test_gateway(workspace: Workspace, gateway: GatewayRequests, options: SmokeOptions, checks: Checks) -> None:
    """Run the smoke test.

    Args:
        workspace: the project in the environment that the gateway serves.
        gateway: the gateway.
        options: what is tested.
        checks: gets every check.
    """
    deadline = time.monotonic() + options.wait_s
    if checks.run("gateway", "ready", lambda: _ready(workspace, gateway, options.wait_s)) is None:
        return
    checks.run("gateway", "live", lambda: _live(gateway))
    names = list(workspace.project.definitions.models) if options.model is None else [options.model]
    revisions = {name: latest(workspace.metadata, Revision, model=name) for name in names}
    for name, revision in revisions.items():
        group = f"model {name}"
        if revision is None:
            if options.model is not None or not any(revisions.values()):
                checks.run(group, "revision", _nothing_serves)
            else:
                checks.skip(group, "revision", "nothing was deployed in this environment")
            continue
        _Model(workspace, gateway, options, checks, revision, deadline).run(group)


def _ready(workspace: Workspace, gateway: GatewayRequests, wait_s: float) -> tuple[bool, str]:
    wait_until_ready(gateway, workspace.clock, wait_s)
    return True, gateway.url


def _live(gateway: GatewayRequests) -> tuple[bool, str]:
    answer = _asked(gateway.get("/v2/health/live", timeout_s=LIMITS))
    if answer.json() != {"live": True}:
        raise CheckFailed(f"expected {{'live': true}}, found {answer.shown()}")
    return True, f"version {gateway.get('/version', timeout_s=LIMITS).shown()}"


def _nothing_serves() -> tuple[bool, str]:
    raise CheckFailed("nothing was deployed in this environment; run: trimtab deploy")


class _Model:
    """The checks of one model."""

    def __init__(
        self, workspace: Workspace, gateway: GatewayRequests, options: SmokeOptions, checks: Checks,
        revision: Revision, deadline: float,
    ) -> None:  # fmt: skip
        self._workspace, self._gateway, self._options, self._checks = workspace, gateway, options, checks
        self._revision, self._deadline = revision, deadline
        self._path = f"/v2/models/{revision.model}"
        rollback, serving = workspace.project.policy.rollout.rollback_when, workspace.project.policy.serving
        limit = serving.timeout if rollback.p99 is None else min(serving.timeout, LIMITS * rollback.p99)
        self._limit_s, self._timeout_s = limit / MICROS["s"], serving.timeout / MICROS["s"]

    def run(self, group: str) -> None:
        """Run all checks."""
        run = self._checks.run
        if run(group, "revision", self._serves_revision) is None:
            return
        for each in self._revision.assignments:
            if self._options.version not in (None, each.version) or each.role not in ANSWERING:
                continue
            group_of = f"{group} version {each.version}"
            spec = run(group_of, "signature", partial(self._signature, each))
            if spec is None:
                self._checks.skip(group_of, "reference row", "its signature is another one")
                continue
            bundle = self._workspace.metadata.get(Bundle, each.bundle)
            run(group_of, "reference row", partial(self._reference_row, bundle, spec))
            run(group_of, "newest example", partial(self._newest_example, bundle, spec))
        run(group, "invalid request", self._invalid)

    def _serves_revision(self) -> tuple[bool, str]:
        """Wait until the newest revision serves, and compare its roles."""
        wanted, version = self._revision, self._options.version
        if version is not None and version not in [each.version for each in wanted.assignments]:
            raise CheckFailed(f"version {version} does not serve by revision {wanted.number}, but {_roles(wanted)}")
        while True:
            answer = _asked(self._gateway.get(self._path, timeout_s=self._timeout_s))
            found: dict[str, Any] = answer.json()["parameters"]
            newer = found.get("revision", 0) > wanted.number
            if found.get("revision") == wanted.number or newer or time.monotonic() >= self._deadline:
                break
            self._workspace.clock.sleep(POLL_S)
        if found.get("revision") != wanted.number:
            raise CheckFailed(
                f"the gateway serves by revision {found.get('revision')}, and the newest of this environment is "
                f"{wanted.number} ({_roles(wanted)})" + ("; does it serve another environment?" if newer else "")
            )
        roles = {str(each.version): each.role for each in wanted.assignments if not each.kept}
        served = found.get("roles", {})
        missing = [number for number, role in roles.items() if served.get(number) != role]
        if missing:
            raise CheckFailed(f"version {missing[0]} should be {roles[missing[0]]}; the gateway has {served}")
        return True, f"revision {wanted.number}: {_roles(wanted)}"

    def _signature(self, assignment: Assignment) -> tuple[Spec, str]:
        bundle = self._workspace.metadata.get(Bundle, assignment.bundle)
        folder = self._workspace.artifacts.open(bundle.path)
        verify(folder, bundle.digest)
        spec = read_spec(folder)
        path = f"{self._path}/versions/{assignment.version}"
        found: Mapping[str, Any] = _asked(self._gateway.get(path, timeout_s=self._timeout_s)).json()
        parameters = found["parameters"]
        wanted: dict[str, tuple[Any, Any]] = {
            "inputs": (found["inputs"], as_answered(inputs_of(spec))),
            "outputs": (found["outputs"], as_answered(outputs_of(spec))),
            "task": (parameters.get("task"), spec.task),
            "features": (tuple(parameters.get("features", ())), spec.features),
            "request_columns": (tuple(parameters.get("request_columns", ())), spec.request_columns),
            "threshold": (parameters.get("threshold", spec.threshold), spec.threshold),
        }
        for name, (served, own) in wanted.items():
            if served != own:
                raise CheckFailed(f"{name}: the gateway has {served!r:.200}, the bundle {own!r:.200}")
        return spec, f"{len(spec.request_columns)} request columns, {len(spec.features)} features, as in {bundle.id}"

    def _reference_row(self, bundle: Bundle, spec: Spec) -> tuple[bool, str]:
        """Send the features of a row that the bundle has a score of."""
        if spec.feature_types:
            raise Skipped("features of other types than numbers cannot be sent; the newest example is asked")
        path = self._workspace.artifacts.open(bundle.path) / REFERENCE
        if not path.is_file():
            raise Skipped("the bundle has no reference rows")
        row = pl.read_parquet(path, n_rows=1)
        values = [None if value is None or np.isnan(value) else float(value) for value in row.row(0)]
        named = dict(zip(row.columns, values, strict=True))
        tensor = {"name": FEATURES, "shape": [1, len(spec.features)], "datatype": "FP32"}
        body = {"inputs": [{**tensor, "data": [named[name] for name in spec.features]}]}
        answer, seconds = self._answer(bundle.version, msgspec.json.encode(body))
        scores = _checked(answer, spec)
        own = named[SCORE]
        rules = RULES[spec.task]
        main = float(rules.main_score(np.array([scores] if rules.by_class else scores))[0])
        if own is None or not np.isclose(main, own, rtol=RELATIVE, atol=ABSOLUTE):
            raise CheckFailed(f"the gateway answers {main}, the bundle was packed with {own} for the same features")
        return True, f"{main:.6g}, as in the bundle, in {1000 * seconds:.1f} ms"

    def _newest_example(self, bundle: Bundle, spec: Spec) -> tuple[bool, str]:
        """Send the request columns of the newest row of the examples."""
        model = self._workspace.model(bundle.model)
        names = dict.fromkeys((*spec.request_columns, model.examples.timestamp))
        try:
            rows = self._workspace.scan()(model.examples.name).select(*names)
            newest = rows.sort(model.examples.timestamp, nulls_last=False, maintain_order=True).tail(1).collect()
        except NotFound:
            newest = pl.DataFrame()
        except pl.exceptions.ColumnNotFoundError as error:
            raise Skipped(f"definitions.py has changed since: {str(error).splitlines()[0]}") from None
        if newest.is_empty():
            raise Skipped(f"table '{model.examples.name}' has no rows in this environment")
        (body,) = request_bodies(model, newest, [f"smoke-{bundle.model}-{bundle.version}"])
        answer, seconds = self._answer(bundle.version, body)
        scores = _checked(answer, spec)
        shown = ", ".join(f"{score:.4g}" for score in scores)
        return True, f"{shown} in {1000 * seconds:.1f} ms"

    def _invalid(self) -> tuple[bool, str]:
        answer = self._gateway.post(f"{self._path}/infer", b'{"inputs": []}', timeout_s=self._timeout_s)
        if answer.status != 400:
            raise CheckFailed(f"a request without inputs: status {answer.status}, expected 400: {answer.shown()}")
        return True, "refused with 400"

    def _answer(self, version: int, body: bytes) -> tuple[Answer, float]:
        """Return an answer, and the seconds that the quickest took. Raises CheckFailed beyond the limit."""
        quickest, path = float("inf"), f"{self._path}/versions/{version}/infer"
        for _ in range(TRIES):
            began = time.perf_counter()
            answer = _asked(self._gateway.post(path, body, timeout_s=self._timeout_s))
            quickest = min(quickest, time.perf_counter() - began)
            if quickest <= self._limit_s:
                return answer, quickest
        raise CheckFailed(f"the quickest of {TRIES} answers took {quickest:.3f} s, limit {self._limit_s:g} s")


def as_answered(value: object) -> Any:
    """Return a value as a client reads it in an answer: lists for tuples, and no defaults."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _asked(answer: Answer) -> Answer:
    """Return an answer with status 200. Raises CheckFailed for another one."""
    if answer.status in (401, 403):
        raise CheckFailed(
            f"status {answer.status}: {answer.shown()}; name a variable that holds a token for infer and read: "
            "--token-env NAME"
        )
    if answer.status != 200:
        raise CheckFailed(f"status {answer.status}: {answer.shown()}")
    return answer


def _checked(answer: Answer, spec: Spec) -> Sequence[float]:
    """Return the scores of one row. Raises CheckFailed for one that is not finite, or no probability."""
    scores = scores_of(answer, spec.task)
    if not scores or not np.isfinite(scores).all():
        raise CheckFailed(f"the scores are {scores}, expected finite numbers")
    is_probability = RULES[spec.task].output in ("probability", "probabilities")
    if is_probability and not all(-ABSOLUTE <= score <= 1 + ABSOLUTE for score in scores):
        raise CheckFailed(f"the scores are {scores}, expected probabilities from 0 to 1")
    if "fallback" in answer.json().get("parameters", {}):
        raise CheckFailed(f"a fallback answered: {answer.json()['parameters']['fallback']}")
    return scores


def _roles(revision: Revision) -> str:
    return ", ".join(f"{each.role} {each.version} with {each.weight:g} %" for each in revision.assignments)
