"""Compares two runs: parameters, metrics with intervals on the same rows, data set, features, code, environment."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trimtab.app.project.project import POLICY
from trimtab.app.project.workspace import Workspace
from trimtab.app.runs.checkout import policy_of
from trimtab.app.runs.found_run import judged_run
from trimtab.app.runs.run_differences import data_fields, differing, environment
from trimtab.app.stages.gate_inputs import scorer_of
from trimtab.bundle.limits import checked
from trimtab.bundle.origin import code_files
from trimtab.bundle.spec import read_spec
from trimtab.clock import from_micros
from trimtab.errors import TrimtabError, UsageError
from trimtab.gates.accuracy import statistic
from trimtab.gates.inputs import MIN_DAYS
from trimtab.metric_catalog import BY_TASK, METRICS
from trimtab.records.training import DatasetVersion, Run
from trimtab.stats.intervals import Interval, cluster_interval
from trimtab.stores.metadata.training_sets import training_set
from trimtab.tasks import RULES
from trimtab.training.dataset import Frozen, load
from trimtab.training.environment import DIRTY, UNVERSIONED, git_output

RESAMPLES = 500
GONE = None
"""The value of what one of two runs does not have."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is not the same in both runs; None: one of them does not have it."""

    a: Any
    b: Any


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both models on the same rows. Intervals are (low, high) at 95 %; None: it is not defined."""

    a: float
    b: float
    interval_a: tuple[float, float] | None
    interval_b: tuple[float, float] | None
    gain: float
    """By how much b is better than a; less than 0 when it is worse."""
    interval_gain: tuple[float, float] | None
    better: str
    """a, b, or "" where the interval of the gain holds 0."""


class SameRows(msgspec.Struct, frozen=True, kw_only=True):
    """Both models on rows that neither was fitted on."""

    rows: int
    start: datetime
    end: datetime
    clusters: str
    """The unit of the intervals: days or hours."""
    metrics: Mapping[str, Measured]
    largest_difference: float
    """Of the scores of one row."""


class RunDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two runs. Mappings hold only what is not the same."""

    a: str
    b: str
    params: Mapping[str, Pair]
    metrics: Mapping[str, Pair]
    """As they were recorded, each on the holdout of its own run."""
    same_rows: SameRows | None
    not_compared: str
    """Why there is no comparison on the same rows; "" if there is one."""
    dataset: Mapping[str, Pair]
    tables: Mapping[str, Pair]
    features: Mapping[str, Pair]
    """By feature: its place in a and in b."""
    environment: Mapping[str, Pair]
    code: str
    """A unified diff from a to b."""
    same_model: bool
    """Whether both have the same model, to the byte."""


def diff_runs(workspace: Workspace, a: Run, b: Run) -> RunDiff:
    """Compare two runs of one model. A fit on all rows is compared by the run that was judged, whose recipe it has.

    Raises UsageError for runs of two models.
    """
    a, b = judged_run(workspace, a), judged_run(workspace, b)
    if a.model != b.model:
        raise UsageError(f"run {a.id[:8]} is of model '{a.model}', run {b.id[:8]} of '{b.model}'; expected one model")
    sets = [training_set(workspace.metadata, run) for run in (a, b)]
    found: SameRows | str
    try:
        found = _on_same_rows(workspace, a, b, sets)
    except TrimtabError as error:
        found = str(error)
    features = [{name: place for place, name in enumerate(version.features)} for version in sets]
    return RunDiff(
        a=a.id,
        b=b.id,
        params=_pairs({"seed": a.seed, **a.params}, {"seed": b.seed, **b.params}),
        metrics=_pairs(a.metrics, b.metrics),
        same_rows=None if isinstance(found, str) else found,
        not_compared=found if isinstance(found, str) else "",
        dataset=_pairs(*map(data_fields, sets)),
        tables=_pairs(sets[0].tables, sets[1].tables),
        features=_pairs(*features),
        environment=_pairs(*(environment(workspace, run, (*a.pins, *b.pins)) for run in (a, b))),
        code=_code(workspace, a, b),
        same_model=a.model_hash == b.model_hash,
    )


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Pair]:
    return {name: Pair(a=one, b=other) for name, (one, other) in differing((a, b)).items()}


def _on_same_rows(workspace: Workspace, a: Run, b: Run, sets: list[DatasetVersion]) -> SameRows | str:
    start = max(version.split_at for version in sets)
    version = max(sets, key=lambda each: each.as_of)
    frozen = load(version, workspace.artifacts)
    late = frozen.holdout.timestamps >= np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "us")
    if not late.any():
        return f"one of the models was fitted on all rows before {start:%Y-%m-%d %H:%M}, and no labelled row is later"
    y, timestamps = frozen.holdout.y[late], frozen.holdout.timestamps[late]
    scores = [_scores(workspace, run, version, frozen)[late] for run in (a, b)]
    known = np.all([np.isfinite(s).reshape(len(s), -1).all(axis=1) for s in scores], axis=0)
    if scores[0].shape != scores[1].shape or not known.any():
        return "the models have other classes, or score no common row"
    y, timestamps, first, second = y[known], timestamps[known], scores[0][known], scores[1][known]
    specs = [read_spec(_folder(workspace, run)) for run in (a, b)]
    days = len(np.unique(timestamps.astype("datetime64[D]"))) >= MIN_DAYS
    clusters = timestamps.astype("datetime64[D]" if days else "datetime64[h]")
    task, own = specs[0].task, specs[0].threshold
    thresholds = own, RULES[task].threshold_beside(own, specs[1].threshold)
    metrics = {name: _measure(name, y, first, second, thresholds, clusters) for name in BY_TASK[task].training}
    return SameRows(
        rows=len(y),
        start=from_micros(int(timestamps.min().astype(np.int64))),
        end=from_micros(int(timestamps.max().astype(np.int64))),
        clusters="days" if days else "hours",
        metrics=metrics,
        largest_difference=float(np.abs(first - second).max()),
    )


def _scores(workspace: Workspace, run: Run, version: DatasetVersion, frozen: Frozen) -> np.ndarray[Any, Any]:
    """Return a model's scores of all rows of the holdout."""
    folder = _folder(workspace, run)
    scorer, X = scorer_of(workspace, folder, version, frozen)
    try:
        return np.asarray(checked(scorer, read_spec(folder)).score(X), dtype=np.float64)
    finally:
        scorer.close()


def _measure(
    name: str,
    y: np.ndarray[Any, Any],
    first: np.ndarray[Any, Any],
    second: np.ndarray[Any, Any],
    thresholds: tuple[float, float],
    clusters: np.ndarray[Any, Any],
) -> Measured:
    facts = METRICS[name]
    own, other = (statistic(name, threshold) for threshold in thresholds)

    def interval(metric: Any, scores: np.ndarray[Any, Any]) -> Interval:
        return cluster_interval(
            lambda rows: metric(y[rows], scores[rows]),
            len(y),
            resamples=RESAMPLES,
            clusters=clusters,
            scale=facts.scale,
        )

    a, b = interval(own, first), interval(other, second)
    gain = cluster_interval(
        lambda rows: facts.gain(other(y[rows], second[rows]), own(y[rows], first[rows])),
        len(y),
        resamples=RESAMPLES,
        clusters=clusters,
    )
    better = "b" if gain.low > 0 else "a" if gain.high < 0 else ""
    return Measured(
        a=a.value,
        b=b.value,
        interval_a=_ends(a),
        interval_b=_ends(b),
        gain=gain.value,
        interval_gain=_ends(gain),
        better=better,
    )


def _ends(interval: Interval) -> tuple[float, float] | None:
    return None if math.isnan(interval.low) or math.isnan(interval.high) else (interval.low, interval.high)


def _code(workspace: Workspace, a: Run, b: Run) -> str:
    """Return the difference of the code: of two revisions by git, else of the files that were kept."""
    revisions = [run.code_version for run in (a, b)]
    if not any(version.endswith(DIRTY) or version == UNVERSIONED for version in revisions):
        options = ("--no-color", "--no-ext-diff", "--relative", *revisions, "--", ".")
        found = git_output(workspace.project.folder, "diff", *options, raw=True)
        if found is not None:
            return found
    kept = [{path.name: path for path in code_files(_folder(workspace, run) / "code")} for run in (a, b)]
    lines = list[str]()
    for name in sorted(kept[0].keys() | kept[1].keys()):
        old, new = (_lines(files.get(name)) for files in kept)
        lines += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    old, new = (policy_of(workspace, run).splitlines(keepends=True) for run in (a, b))
    lines += difflib.unified_diff(old, new, f"a/{POLICY}", f"b/{POLICY}")
    return "".join(lines)


def _lines(path: Path | None) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path else []


def _folder(workspace: Workspace, run: Run) -> Path:
    """Return the folder of a run's packaged model."""
    return workspace.artifacts.open(run.staging)
