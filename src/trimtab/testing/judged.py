"""Makes complete records of judged windows, bundles and runs with defaults, for tests of control."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from trimtab.records.control import Decision
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Role, SignalKind, Verdict
from trimtab.records.serving import Assignment, Revision
from trimtab.records.training import Bundle, DatasetVersion, Run

MODEL = "delay"
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def window_report(
    day: int = 0,
    *,
    version: int = 1,
    role: Role = "champion",
    stage: Literal["closed", "matured"] = "matured",
    metrics: dict[str, float] | None = None,
    labelled: int = 900,
    served: int = 1000,
) -> WindowReport:
    """Return the report of one day's window of 1,000 rows."""
    start = FIRST + day * DAY
    return WindowReport(
        id=f"{MODEL}/v{version}/{start:%Y-%m-%dT%H:%M:%SZ}/{stage}",
        created_at=FIRST,
        model=MODEL,
        version=version,
        role=role,
        stage=stage,
        start=start,
        end=start + DAY,
        rows=1000,
        served_rows=served,
        labelled=labelled,
        coverage=labelled / 1000,
        metrics=metrics or {},
    )


def signal(
    window: WindowReport,
    kind: SignalKind,
    *,
    value: float = 0.0,
    p: float | None = None,
    p_seq: float | None = None,
    reference_windows: int = 60,
    carriers: tuple[str, ...] = (),
    subject: str = "all",
) -> Signal:
    """Return a signal of one kind of a window; by default its subject is "all"."""
    return Signal(
        id=f"{window.id.rsplit('/', 1)[0]}/{kind}/{subject}",
        created_at=FIRST,
        model=window.model,
        version=window.version,
        kind=kind,
        subject=subject,
        start=window.start,
        end=window.end,
        statistic="test",
        value=value,
        p=p,
        p_seq=p_seq,
        effect={},
        rows=window.rows,
        reference_windows=reference_windows,
        carriers=carriers,
        reason="made for a test",
    )


def judged_signals(
    window: WindowReport,
    *,
    data_p_seq: float = 1.0,
    concept_p_seq: float = 1.0,
    p: float = 0.5,
    money_per_day: float | None = 0.0,
    reference_windows: int = 60,
) -> list[Signal]:
    """Return the signals from which a decision is made."""
    found = [
        signal(window, "data", p=p, p_seq=data_p_seq, reference_windows=reference_windows, carriers=("wind", "month")),
        signal(window, "concept", p=0.5, p_seq=concept_p_seq),
    ]
    if money_per_day is not None:
        found.append(signal(window, "kpi", value=money_per_day))
    return found


def champion_revision(
    number: int, version: int, *, action: Literal["deploy", "promote", "rollback"] = "deploy", cause: str = "test"
) -> Revision:
    """Return a revision in which one version serves alone."""
    bundle = f"{MODEL}/{version}"
    return Revision(
        id=f"{MODEL}#{number}",
        created_at=FIRST,
        model=MODEL,
        number=number,
        assignments=(Assignment(role="champion", bundle=bundle, version=version, weight=100.0),),
        action=action,
        cause=cause,
        reason="made for a test",
        by="tester",
    )


def bundle_record(version: int, *, model: str = MODEL) -> Bundle:
    """Return the record of a bundle without files, for tests of rollouts."""
    return Bundle(
        id=f"{model}/{version}",
        created_at=FIRST,
        model=model,
        version=version,
        run=f"run{version}",
        dataset="dataset",
        gate_report="gates",
        digest="0" * 64,
        path=f"bundles/{model}/{version}",
        features=("row",),
        views=(),
        threshold=0.5,
    )


def dataset_record(*, model: str = MODEL, as_of: datetime = FIRST) -> DatasetVersion:
    """Return the record of a training set without files; bundle_record and run_record name it."""
    return DatasetVersion(
        id="dataset",
        created_at=FIRST,
        model=model,
        start=as_of - 10 * DAY,
        as_of=as_of,
        split_at=as_of - 2 * DAY,
        rows=1000,
        labelled=900,
        holdout_rows=200,
        label_mean=0.2,
        tables={},
        views=(),
        code_hash="",
        features=("row",),
        path="datasets/dataset",
    )


def run_record(number: int, *, model: str = MODEL, cost: float = 0.0) -> Run:
    """Return the record of a training without files; bundle_record(number) is the bundle of it."""
    return Run(
        id=f"run{number}",
        created_at=FIRST + number * DAY,
        key=f"key{number}",
        model=model,
        dataset="dataset",
        experiment=model,
        seed=0,
        params={},
        metrics={},
        code_version="unversioned",
        environment_hash="",
        cpu_seconds=1.0,
        wall_seconds=1.0,
        peak_memory_mb=1.0,
        cost=cost,
        model_hash="0" * 64,
        staging=f"runs/{model}/run{number}",
    )


def gate_report(
    number: int, *, model: str = MODEL, verdict: Verdict = "pass", champion: str | None = None, key: str = ""
) -> GateReport:
    """Return the report of run_record(number), compared with a champion; champion: id of its bundle."""
    return GateReport(
        id=f"run{number}/gates/{key or champion}",
        created_at=FIRST + number * DAY,
        model=model,
        run=f"run{number}",
        champion=champion,
        key=key,
        verdict=verdict,
        results=(),
    )


class RecordingActions:
    """Actions that record their calls in `asked`. `busy`: what `running` returns. `failing`: the error they raise."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.busy = False
        self.failing: Exception | None = None

    def retrain(self, decision: Decision) -> None:
        """Record the call, or raise `failing`."""
        self._ask("retrain", decision)

    def review(self, decision: Decision) -> None:
        """Record the call, or raise `failing`."""
        self._ask("review", decision)

    def rollback(self, decision: Decision) -> None:
        """Record the call, or raise `failing`."""
        self._ask("rollback", decision)

    def escalate(self, decision: Decision, reason: str) -> None:
        """Record the call, or raise `failing`."""
        self._ask("escalate", decision)

    def running(self, model: str) -> int:
        """Return `busy` as a number."""
        return int(self.busy)

    def _ask(self, action: str, decision: Decision) -> None:
        if self.failing is not None:
            raise self.failing
        self.asked.append((action, decision.id))
