"""python -m benchmarks.console.large_project FOLDER: a project with the records of a large one, to look at its pages.

One model has 10,000 windows and 5,000 decisions, 49 others have 30 windows each. Decisions are made by the policy from
the signals of their windows and are chained; comparisons are those that the loop writes. There is no log, no table
and no bundle on disk, and nothing is random but from a seed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from trimtab.app.loop.comparisons import Comparisons
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.control.cause import Cause
from trimtab.control.decision import decide
from trimtab.control.history import ControlHistory
from trimtab.control.ledger import following
from trimtab.control.reviews import proposes_retraining
from trimtab.policy.model import Policy
from trimtab.records.control import Decision, Resolution, WorkflowStep
from trimtab.records.data import TableVersion
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Record, Role, SignalKind
from trimtab.records.serving import Assignment, Revision
from trimtab.records.training import Bundle, DatasetVersion, Run, UsualRange

MODELS, WINDOWS, DECISIONS = 50, 10_000, 5_000
FEW = 30
"""Windows of each model but the first."""
HOUR = timedelta(hours=1)
END = datetime(2026, 3, 1, tzinfo=UTC)
"""End of the newest window of every model."""
ROWS = 800
A_VERSION, COMPARED = 500, 45
"""Windows for which a version serves, and before it those in which it is compared with the champion."""
EPISODE, BAD = 700, 30
"""Every so many windows so many are bad: inputs drift, and mistakes cost more."""
BATCH = 2_000
"""Records of one transaction."""

POLICY = """\
project: large
rollout: { promote_when: { metric: log_loss, max_windows: 45, tolerate: 0.005 } }
impact: { currency: USD, cost: { false_negative: 40, false_positive: 20 }, medium: 500/day, high: 1500/day, over: 1h }
decide: { window: 1h, labels_mature_after: 2h, cooldown: 12h }
"""
MODEL = """
{name} = tt.Model("{name}", task="binary", examples=flights, label="late", features=["distance"])


@{name}.trainer
def train_{name}(data, params, seed):
    raise NotImplementedError
"""
HEAD = 'import trimtab as tt\n\nflights = tt.FileSource("flights", "flights.parquet", timestamp="moment")\n'
STEPS = ("snapshot", "train", "gates", "register", "challenge", "compare", "promote")


class _Window(NamedTuple):
    """What is drawn of one window."""

    start: datetime
    version: int
    loss: float
    p_seq: float
    money_per_day: float
    gain: float
    """Of the version that is compared with the champion."""


def write_project(
    folder: Path, *, models: int = MODELS, windows: int = WINDOWS, decisions: int = DECISIONS
) -> Workspace:
    """Make a project in a new folder and write its records; return it.

    windows: of the first model; decisions: on the newest of them.
    """
    folder.mkdir(parents=True)
    names = ["delay", *(f"model{number:02}" for number in range(1, models))]
    (folder / "trimtab.yaml").write_text(POLICY)
    (folder / "definitions.py").write_text(HEAD + "".join(f"\n{MODEL.format(name=name)}" for name in names))
    workspace = open_workspace(folder)
    policy = workspace.project.policy.for_task("binary")
    workspace.metadata.put(_table(windows))
    for seed, name in enumerate(names):
        number = windows if seed == 0 else min(FEW, windows)
        drawn = _drawn(number, np.random.default_rng(seed))
        records = chain(_versions(name, drawn), _windows(name, drawn), _decisions(name, drawn[-decisions:], policy))
        while batch := list(islice(records, BATCH)):
            workspace.metadata.put(*batch)
        Comparisons(workspace.metadata, workspace.clock).step(name, "binary", policy)
    return workspace


def _drawn(number: int, random: np.random.Generator) -> list[_Window]:
    day = 0.03 * np.sin(np.arange(number) / 24 * 2 * np.pi)
    loss = 0.42 + day + random.normal(0, 0.02, number)
    money = random.normal(0, 150, number)
    p_seq = np.ones(number)
    for begin in range(EPISODE // 2, number, EPISODE):
        bad = slice(begin, begin + BAD)
        worse = random.choice([0.0, 400.0, 1200.0])
        loss[bad] += 0.1
        money[bad] += worse + 300
        p_seq[bad] = 10.0 ** -np.linspace(1.5, 5, BAD)[: len(p_seq[bad])]
    gain = random.normal(0.004, 0.02, number)
    return [
        _Window(END - (number - n) * HOUR, 1 + n // A_VERSION, *map(float, (loss[n], p_seq[n], money[n], gain[n])))
        for n in range(number)
    ]


def _table(windows: int) -> TableVersion:
    return TableVersion(
        id="flights@1", created_at=END, table="flights", version=1, rows=windows * ROWS, added_rows=windows * ROWS,
        content_hash="0" * 64, schema={"distance": "double", "late": "int64"}, source="flights.parquet",
        source_hash="0" * 64,
    )  # fmt: skip


def _versions(model: str, drawn: list[_Window]) -> Iterator[Record]:
    """Yield what each version was made of, and the revisions by which it came to serve."""
    last = drawn[-1].version
    for version in range(1, last + 1):
        served_from = drawn[(version - 1) * A_VERSION].start
        begun = served_from - (COMPARED if version > 1 else 0) * HOUR
        run, dataset = f"{model}-run-{version}", f"{model}-dataset-{version}"
        yield DatasetVersion(
            id=dataset, created_at=begun, model=model, start=begun - timedelta(days=90), as_of=begun,
            split_at=begun - timedelta(days=18), rows=90 * 24 * ROWS, labelled=89 * 24 * ROWS,
            holdout_rows=18 * 24 * ROWS, label_mean=0.2, tables={}, views=(), code_hash="",
            features=("distance",), path=f"datasets/{dataset}",
        )  # fmt: skip
        yield Run(
            id=run, created_at=begun, key=f"key-{run}", model=model, dataset=dataset, experiment=model, seed=version,
            params={"max_iter": 60 + version}, metrics={"roc_auc": 0.66 + 0.001 * version, "log_loss": 0.42},
            code_version="unversioned", environment_hash="", cpu_seconds=40.0, wall_seconds=25.0, peak_memory_mb=400.0,
            cost=0.01, model_hash=f"{version:064x}", staging=f"runs/{model}/{run}",
        )  # fmt: skip
        gate = GateResult(
            gate="accuracy",
            metric="roc_auc",
            verdict="pass",
            value=0.66,
            low=0.64,
            high=0.68,
            threshold=0.6,
            reason="kept",
        )
        report = f"{run}/gates"
        yield GateReport(
            id=report, created_at=begun, model=model, run=run, verdict="pass", results=(gate,),
            champion=f"{model}/{version - 1}" if version > 1 else None,
        )  # fmt: skip
        yield Bundle(
            id=f"{model}/{version}", created_at=begun, model=model, version=version, run=run, dataset=dataset,
            gate_report=report, digest=f"{version:064x}", path=f"bundles/{model}/{version}", features=("distance",),
            views=(), threshold=0.5, usual={"log_loss": UsualRange(low=0.37, median=0.42, high=0.47)},
        )  # fmt: skip
        if version > 1:
            yield _revision(model, 2 * version - 2, version - 1, begun, challenger=version)
        yield _revision(model, 2 * version - 1, version, served_from)


def _revision(model: str, number: int, champion: int, at: datetime, *, challenger: int | None = None) -> Revision:
    shares: list[tuple[Role, int, float]] = [("champion", champion, 100.0 if challenger is None else 90.0)]
    shares += [] if challenger is None else [("challenger", challenger, 10.0)]
    return Revision(
        id=f"{model}#{number}", created_at=at, model=model, number=number, cause=f"{model}/change/{number}",
        assignments=tuple(
            Assignment(role=role, bundle=f"{model}/{version}", version=version, weight=weight)
            for role, version, weight in shares
        ),
        action="deploy" if number == 1 else "promote" if challenger is None else "challenge",
        reason="its gain is proven" if challenger is None else "retrained", by="trimtab", as_of=at,
    )  # fmt: skip


def _windows(model: str, drawn: list[_Window]) -> Iterator[Record]:
    """Yield the reports and signals of every window, in order of time."""
    for number, one in enumerate(drawn):
        closed, matured = _reports(model, one, one.version, "champion")
        yield closed
        yield matured
        yield from _signals(matured, one)
        left = A_VERSION - number % A_VERSION
        if left <= COMPARED and number + left < len(drawn):
            yield from _reports(model, one, one.version + 1, "challenger")


def _reports(model: str, one: _Window, version: int, role: Role) -> tuple[WindowReport, WindowReport]:
    loss = one.loss - (one.gain if role == "challenger" else 0.0)
    metrics = {"p50_ms": 1.2, "p99_ms": 2.0 + 4 * one.loss, "error_rate": 0.0, "cost": 1e-8, "confidence": 0.81}
    paired = {
        "paired_rows": float(ROWS - 20), "paired_version": float(version - 1), "paired_log_loss_gain": one.gain,
        "paired_brier_gain": one.gain / 3, "paired_money_gain": one.gain,
    }  # fmt: skip
    measured = {
        "log_loss": loss, "log_loss_low": loss - 0.03, "log_loss_high": loss + 0.03, "roc_auc": 1 - loss,
        "brier": loss / 3, "accuracy": 0.8, "money_lost": 8000 * loss + one.money_per_day, "false_negative_mean": 0.15,
        "false_positive_mean": 0.04, **(paired if role == "challenger" else {}),
    }  # fmt: skip
    closed = WindowReport(
        id=f"{_name(model, version, one.start)}/closed", created_at=one.start + HOUR, model=model, version=version,
        role=role, stage="closed", start=one.start, end=one.start + HOUR, rows=ROWS,
        served_rows=ROWS if role == "champion" else 0, labelled=0, coverage=0.0, metrics=metrics,
    )  # fmt: skip
    matured = msgspec.structs.replace(
        closed,
        id=f"{_name(model, version, one.start)}/matured",
        stage="matured",
        labelled=ROWS - 20,
        coverage=(ROWS - 20) / ROWS,
        metrics=metrics | measured,
    )
    return closed, matured


def _name(model: str, version: int, start: datetime) -> str:
    return f"{model}/v{version}/{start:%Y-%m-%dT%H:%M:%SZ}"


def _signals(window: WindowReport, one: _Window) -> Iterator[Signal]:
    p = min(1.0, 3 * one.p_seq)
    yield _signal(window, "data", value=1.0, p=p, p_seq=one.p_seq, carriers=("distance",))
    yield _signal(window, "data", subject="distance", value=1.0, p=p)
    yield _signal(window, "prediction", value=0.5, p=0.5, p_seq=1.0)
    yield _signal(window, "concept", value=one.loss - 0.42, p=p, p_seq=min(1.0, 10 * one.p_seq))
    yield _signal(window, "quality", value=0.016, p=0.5, p_seq=1.0)
    yield _signal(window, "latency", value=2.0 + 4 * one.loss, p=0.5, p_seq=1.0)
    yield _signal(window, "kpi", value=one.money_per_day)


def _signal(
    window: WindowReport,
    kind: SignalKind,
    *,
    value: float,
    subject: str = "all",
    p: float | None = None,
    p_seq: float | None = None,
    carriers: tuple[str, ...] = (),
) -> Signal:
    return Signal(
        id=f"{_name(window.model, window.version, window.start)}/{kind}/{subject}", created_at=window.created_at,
        model=window.model, version=window.version, kind=kind, subject=subject, start=window.start, end=window.end,
        statistic="drawn", value=value, p=p, p_seq=p_seq, effect={"max_share_moved": 0.07}, rows=window.rows,
        reference_windows=120, carriers=carriers, reason="7% of the rows moved where 5% are usual",
    )  # fmt: skip


def _decisions(model: str, drawn: list[_Window], policy: Policy) -> Iterator[Record]:
    """Yield the decisions on some windows, with the steps of their retrainings and the answers to their reviews.

    The newest review stays open.
    """
    last: Decision | None = None
    review: Decision | None = None
    retrained: datetime | None = None
    for one in drawn:
        window = _reports(model, one, one.version, "champion")[1]
        cause = Cause(window=window, signals=tuple(_signals(window, one)))
        history = ControlHistory(
            champion=one.version, last_retrain=retrained, open_review=None if review is None else review.id
        )
        last = following(last, decide(cause, policy, history), at=window.end)
        yield last
        if last.action == "retrain":
            retrained = last.end
            yield from _steps(last)
        if review is not None and last.end - review.end > 12 * HOUR and one is not drawn[-1]:
            yield _answer(review, last.end)
            review = None
        if last.action == "review":
            if proposes_retraining(last):
                review = last
            elif one is not drawn[-1]:
                yield _answer(last, last.end + HOUR)


def _steps(decision: Decision) -> Iterator[WorkflowStep]:
    workflow = f"retrain/{decision.id}"
    for place, step in enumerate(STEPS):
        yield WorkflowStep(
            id=f"{workflow}/{step}", created_at=decision.end + place * HOUR, workflow=workflow, model=decision.model,
            decision=decision.id, step=step, outcome=f"{step} is done", refers_to=None,
        )  # fmt: skip


def _answer(decision: Decision, at: datetime) -> Resolution:
    proposed = proposes_retraining(decision)
    return Resolution(
        id=f"{decision.id}/resolution", created_at=at, model=decision.model, decision=decision.id,
        verdict="acknowledge" if not proposed else "approve" if decision.number % 2 else "reject",
        reason="a storm over the hubs", by="ann", as_of=at,
    )  # fmt: skip


def main() -> int:
    """Write the project; print what it holds and how long that took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console.large_project", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    folder = parser.parse_args().folder
    begun, used = time.monotonic(), time.process_time()
    workspace = write_project(folder)
    metadata = workspace.metadata
    took, cpu = time.monotonic() - begun, time.process_time() - used
    size = (workspace.root / "metadata.db").stat().st_size / 1e6
    print(f"{folder}: {took:.0f} s, {cpu:.0f} s of processor time, {size:.0f} MB")
    for kind in (Bundle, WindowReport, Signal, Decision, Resolution):
        print(f"{metadata.count(kind):>9,} {kind.KIND}")
    broken = metadata.verify().breaks
    print(f"{len(broken)} breaks of the ledger")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
