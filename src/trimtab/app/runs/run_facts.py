"""Gathers all that is known of one run: what went in, what came out, what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.app.runs.found_run import judged_run
from trimtab.records.gate_reports import GateReport
from trimtab.records.record import Verdict
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest
from trimtab.stores.metadata.training_sets import training_set


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    run: str
    model: str
    trained: datetime
    refit_of: str | None
    """The judged run; None for a judged run."""
    metrics: Mapping[str, float]
    """On the holdout, which the model was not fitted on; of a refit those of the judged run."""
    verdict: Verdict | None
    gates: tuple[str, ...]
    """A line for each result of the newest report."""
    bundle: str | None
    params: Mapping[str, Any]
    seed: int
    data_set: str
    tables: Mapping[str, str]
    rows: Mapping[str, int]
    features: tuple[str, ...]
    warnings: tuple[str, ...]
    code: str
    changes: str
    python: str
    packages: int
    model_hash: str
    folder: str
    """The packaged model in the artifact store."""
    plots: tuple[str, ...]
    """Addresses of the plots, as MLflow keeps them."""
    usage: Mapping[str, float]
    experiment: str


def run_facts(workspace: Workspace, run: Run, *, plots: Sequence[str] = ()) -> RunFacts:
    """Return all that is known of a run. plots: their addresses in MLflow. Raises NotFound without its training set."""
    judged = judged_run(workspace, run)
    dataset = training_set(workspace.metadata, run)
    report = latest(workspace.metadata, GateReport, run=judged.id)
    bundle = latest(workspace.metadata, Bundle, run=judged.id)
    return RunFacts(
        run=run.id,
        model=run.model,
        trained=run.created_at,
        refit_of=run.refit_of,
        metrics=run.metrics,
        verdict=report.verdict if report else None,
        gates=tuple(f"{r.gate} {r.verdict}: {r.reason}" for r in report.results) if report else (),
        bundle=bundle.id if bundle else None,
        params=run.params,
        seed=run.seed,
        data_set=f"{dataset.id[:12]}, known by {dataset.as_of:%Y-%m-%d %H:%M} UTC",
        tables=dataset.tables,
        rows={"all": dataset.rows, "labelled": dataset.labelled, "holdout": dataset.holdout_rows},
        features=dataset.features,
        warnings=dataset.warnings,
        code=run.code_version,
        changes=run.changes,
        python=run.python,
        packages=len(run.pins),
        model_hash=run.model_hash,
        folder=run.staging,
        plots=tuple(plots),
        usage={
            "cpu_seconds": run.cpu_seconds,
            "wall_seconds": run.wall_seconds,
            "peak_memory_mb": run.peak_memory_mb,
            "cost": run.cost,
        },
        experiment=run.experiment,
    )
