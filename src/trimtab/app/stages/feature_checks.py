"""Judges the features of a training set when they have been computed: missing values, ranges, constants, leakage."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

import numpy as np
import polars as pl

from trimtab.app.project.workspace import Workspace
from trimtab.data.batch_checks import judge_freshness
from trimtab.data.checks import Checked, failure_lines, report_of
from trimtab.data.personal_data import mask
from trimtab.definitions.models import Model
from trimtab.definitions.personal_columns import personal_columns
from trimtab.errors import CheckFailed, PolicyError, nearest
from trimtab.gates.leakage import explained_by_feature
from trimtab.policy.data_checks import FeatureChecks, Range
from trimtab.policy.gates import Leakage
from trimtab.records.data import CheckReport, CheckResult, TableVersion
from trimtab.records.record import Verdict
from trimtab.records.training import DatasetVersion
from trimtab.stores.metadata.contract import latest
from trimtab.training.dataset import load


def check_features(workspace: Workspace, model: Model, version: DatasetVersion, frame: pl.DataFrame) -> CheckReport:
    """Judge the features of a frozen training set, write the report and return it.

    frame: its rows. Raises CheckFailed when a check fails, PolicyError for a range of no feature.
    """
    policy = workspace.project.policy.checks.features
    for name in policy.ranges:
        if name not in model.feature_names:
            raise PolicyError(
                f"checks.features.ranges.{name}: model '{model.name}' has no feature '{name}'."
                f"{nearest(name, model.feature_names)}"
            )
    personal = personal_columns(workspace.project.definitions)
    results = [*_of_values(policy, model, frame, personal), *_leakage(workspace, policy, version)]
    count = f"{len(model.feature_names)} features of {frame.height:,} rows"
    results.insert(0, CheckResult(check="features", verdict="pass", reason=count))
    none = pl.Series("row", [], dtype=pl.UInt32)
    report = report_of(
        Checked(frame.height, none, none.cast(pl.String), (), ()),
        table=reported_as(model.name),
        source=f"training set {version.id[:12]}",
        batch_hash=version.id,
        max_share=0.0,
        quarantine=None,
        now=workspace.now(),
        results=tuple(results),
    )
    workspace.metadata.put(report)
    if report.verdict == "fail":
        lines = "".join(f"\n  {line}" for line in failure_lines(report))
        raise CheckFailed(f"{report.source} of model '{model.name}' fails its checks; it is not trained on:{lines}")
    return report


def require_fresh(workspace: Workspace, versions: Mapping[str, TableVersion], *, as_of: datetime) -> None:
    """Raise CheckFailed when the newest row of a table until `as_of` is older than the policy allows.

    versions: by table.
    """
    checks = workspace.project.policy.checks.tables
    for name, version in versions.items():
        policy = checks[name].freshness if name in checks else None
        if policy is None or policy.on_failure != "fail":
            continue
        timestamp = workspace.project.definitions.sources[name].timestamp
        rows = workspace.tables.scan(name, version=version.version).select(timestamp)
        newest = rows.filter(pl.col(timestamp) <= as_of).max().collect().item()
        result = judge_freshness(policy, [newest], as_of)
        if result.verdict == "fail":
            raise CheckFailed(f"{version.id}: freshness: {result.reason}; nothing is trained on it")


def feature_report(workspace: Workspace, version: DatasetVersion) -> CheckReport | None:
    """Return the newest report on the features of a training set, None if they were not judged."""
    return latest(workspace.metadata, CheckReport, table=reported_as(version.model), batch_hash=version.id)


def reported_as(model: str) -> str:
    """Return the name under which reports stand on the features of a model; no table has such a name."""
    return f"features:{model}"


def _of_values(
    policy: FeatureChecks, model: Model, frame: pl.DataFrame, personal: Collection[str]
) -> Iterator[CheckResult]:
    rows = max(frame.height, 1)
    for name in model.feature_names:
        values = frame.get_column(name)
        missing = values.is_null() | values.is_nan() if values.dtype.is_float() else values.is_null()
        share = int(missing.sum()) / rows
        found = values.filter(~missing)
        if share > policy.max_missing:
            reason = f"missing in {share:.2%} of the rows, more than the {policy.max_missing:.2%} that may be"
            yield _result(name, "missing", policy.on_failure, reason, share, policy.max_missing)
        if policy.constant != "allow" and len(found) and found.n_unique() == 1 and not share:
            reason = f"has the same value in all rows: {mask(name, found[0], personal)}"
            yield _result(name, "constant", policy.constant, reason)
        if name in policy.ranges and len(found):
            yield from _range(policy, name, policy.ranges[name], found, hidden=name in personal)


def _range(policy: FeatureChecks, name: str, limits: Range, found: pl.Series, *, hidden: bool) -> Iterator[CheckResult]:
    if not found.dtype.is_numeric():
        raise PolicyError(f"checks.features.ranges.{name}: feature '{name}' is {found.dtype}; expected a number")
    low, high = (limit if limit is not None else end for limit, end in zip(limits, (-math.inf, math.inf), strict=True))
    numbers = found.cast(pl.Float64)
    out = numbers.filter((numbers < low) | (numbers > high))
    if len(out):
        example = "" if hidden else f", such as {out[0]:g}"
        reason = f"{len(out):,} values are not in {limits}{example}".replace("None", "null")
        yield _result(name, "range", policy.on_failure, reason, len(out) / len(found), 0.0)


def _leakage(workspace: Workspace, policy: FeatureChecks, version: DatasetVersion) -> Iterator[CheckResult]:
    if policy.leakage == "allow":
        return
    gate = workspace.project.policy.gates.leakage or Leakage()
    rows = load(version, workspace.artifacts).train
    model = workspace.model(version.model)
    labelled = np.flatnonzero(np.isfinite(rows.y))
    metric, found, _ = explained_by_feature(rows.X[labelled], rows.y[labelled], rows.feature_names, model.task)
    for name, value in sorted(found.items(), key=lambda item: -item[1]):
        if value > gate.single_feature and name not in gate.acknowledged:
            reason = f"alone explains the label: {metric} {value:.4f}, limit {gate.single_feature:g} (gates.leakage)"
            yield _result(name, "leakage", policy.leakage, reason, value, gate.single_feature)


def _result(
    name: str, check: str, verdict: str, reason: str, value: float | None = None, limit: float | None = None
) -> CheckResult:
    judged: Verdict = "fail" if verdict == "fail" else "warn"
    return CheckResult(check=f"{name}.{check}", verdict=judged, reason=reason, value=value, limit=limit)
