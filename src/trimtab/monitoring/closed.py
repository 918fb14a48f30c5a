"""Judges a closed window before its labels are known: inputs, scores, quality, latency, errors, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trimtab.bundle.limits import InputCheck
from trimtab.bundle.prompt_spec import TURN_FEATURES
from trimtab.bundle.spec import Limits
from trimtab.errors import ImpactFailed
from trimtab.metric_catalog import CHAT
from trimtab.monitoring.detection.absolute import Finding
from trimtab.monitoring.detection.own_windows import Operation
from trimtab.monitoring.detectors import VersionDetectors
from trimtab.monitoring.estimates import estimated_metrics
from trimtab.monitoring.failure_bounds import error_rate_at_least, p99_at_least
from trimtab.monitoring.mistakes import Costs
from trimtab.monitoring.prediction_rows import VersionRows, columns_of
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.row_money import RowMoney
from trimtab.monitoring.window_records import VersionWindow
from trimtab.policy.model import Prices
from trimtab.records.monitoring import ABSOLUTE, CHECKS, LEARNT, SCORE, TEXTS, Signal
from trimtab.records.record import Record
from trimtab.stats.profile import WindowProfile

Matrix = npt.NDArray[np.float32]
MICROS_AN_HOUR = 3_600_000_000
TOP_COLUMNS = 3
FULL_SHARE = 0.9
"""A version that scored a smaller share of the window's predictions saw a part of the day only: it is not compared."""


def judge_closed(
    window: VersionWindow,
    rows: VersionRows,
    reference: Reference | None,
    detectors: VersionDetectors | None,
    prices: Prices,
    costs: Costs | None = None,
    own: RowMoney | None = None,
) -> list[Record]:
    """Return the records of a version's closed window: report, profiles and signals.

    costs: of the model. own: the project's impact function on these rows; where it fails, no money is estimated.
    """
    metrics = operations(rows, prices)
    if reference is not None and reference.task == CHAT:
        metrics |= turn_operations(rows, metrics)
    if reference is not None:
        try:
            metrics |= estimated_metrics(rows.scored.scores, reference, costs or {}, own)
        except ImpactFailed:  # the matured window says so
            metrics |= estimated_metrics(rows.scored.scores, reference, {})
    records: list[Record] = [window.report("closed", rows.scored, metrics)]
    whole = is_whole(rows)
    if reference is not None:
        matrix = rows.matrix(len(reference.names))
        profile = reference.profile(matrix)
        records.append(window.profile(profile, len(matrix)))
        if reference.limits is not None and len(matrix):
            records.append(_unexpected(window, matrix[:, : len(reference.names)], reference.names, reference.limits))
        records += _hashed(window, rows)
        if detectors is not None and whole and len(matrix):
            records += _drift(window, profile, detectors)
            records += _absolute(window, profile, detectors.finish(profile, window.span.start))
    records += _operations(window, rows, metrics, detectors if whole else None)
    return records


def _unexpected(window: VersionWindow, X: Matrix, names: Sequence[str], limits: Limits) -> Signal:
    """Return which share of the rows holds a value that the checks of the request columns do not expect."""
    failing = InputCheck(names, limits).refused(X)
    rows = failing.any(axis=1)
    shares = {name: float(share) for name, share in zip(names, failing.mean(axis=0), strict=True) if share > 0}
    worst = tuple(sorted(shares, key=lambda name: (-shares[name], name)))
    found = f"{int(rows.sum()):,} of {len(X):,} rows hold a value that is not expected"
    return window.signal(
        "quality",
        subject=CHECKS,
        statistic="share of rows with a value that the checks do not expect",
        value=float(rows.mean()),
        effect=dict(shares),
        rows=len(X),
        carriers=worst[:TOP_COLUMNS],
        reason=f"{found}: {', '.join(worst)}" if worst else "all values are as expected",
    )


def turn_operations(rows: VersionRows, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of operation of turns: first_token_p95_ms, turn_cost (money), and cost with it."""
    found = columns_of(rows, TURN_FEATURES, {"first_token_ms", "cost"})
    first, cost = (found[name][np.isfinite(found[name])].astype(np.float64) for name in ("first_token_ms", "cost"))
    spent = float(cost.sum())
    quick = {"first_token_p95_ms": float(np.quantile(first, 0.95))} if len(first) else {}
    return {**quick, "turn_cost": spent, "cost": metrics["cost"] + spent}


def _hashed(window: VersionWindow, rows: VersionRows) -> list[Signal]:
    """Return a signal of the turns whose text is hashed, if there are any."""
    if not rows.hashed:
        return []
    return [
        window.signal(
            "quality",
            subject=TEXTS,
            statistic="share of turns whose text is kept as a hash",
            value=rows.hashed / rows.scored.rows,
            rows=rows.scored.rows,
            reason=f"the text of {rows.hashed:,} of {rows.scored.rows:,} turns is kept as a hash "
            "(llm.store.messages): they have no topic and no language",
        )
    ]


def is_whole(rows: VersionRows) -> bool:
    """Return True if the version scored (nearly) all predictions of the window."""
    return rows.scored.rows >= FULL_SHARE * rows.scored.requests


def operations(rows: VersionRows, prices: Prices) -> dict[str, float]:
    """Return the metrics of operation: error_rate, p50_ms, p99_ms, confidence, score, cost (money), and lower bounds.

    error_rate_low and p99_low_ms: lower bounds of error_rate and p99_ms (failure_bounds.py).
    failed_requests: number of requests that the failed rows came in.
    """
    p50, p99 = np.quantile(rows.latency_ms, (0.5, 0.99))
    scored = rows.scored
    return {
        "error_rate": rows.errors / scored.rows,
        "error_rate_low": error_rate_at_least(rows.errors, scored.rows, failed_requests=rows.failed_requests),
        "failed_requests": float(rows.failed_requests),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "p99_low_ms": min(p99_at_least(rows.latency_ms), p99_at_least(rows.request_latency_ms)),
        "confidence": _mean(rows.confidence),
        "score": _mean(scored.score),
        "cost": rows.cpu_us / MICROS_AN_HOUR * prices.cpu_hour,
    }


def _drift(window: VersionWindow, profile: WindowProfile, detectors: VersionDetectors) -> list[Signal]:
    found: list[Signal] = []
    about = detectors.compared_with.said
    if step := detectors.inputs(profile):
        found.append(window.drift("data", step, detectors.input_windows, detectors.usual_inputs, about))
        found += window.columns(step, detectors.input_windows, detectors.usual_inputs)
    if step := detectors.score(profile):
        found.append(window.drift("prediction", step, detectors.score_windows, detectors.usual_score, about))
        if len(step.columns) > 1:
            found += window.columns(step, detectors.score_windows, detectors.usual_score, kind="prediction")
    share, rows = detectors.share_missing(profile), profile[SCORE].n
    about = "share of missing feature values"
    if missing := detectors.missing(share, rows):
        windows = detectors.missing_windows
        found.append(
            window.upward("quality", missing, statistic=about, value=share, rows=rows, reference_windows=windows)
        )
    elif detectors.learns("missing"):
        found.append(window.signal("quality", statistic=about, value=share, rows=rows, reason=LEARNT))
    return found


def _absolute(window: VersionWindow, profile: WindowProfile, findings: Sequence[Finding]) -> list[Signal]:
    """Return a signal for each column that no window before was like."""
    return [
        window.signal(
            "quality",
            subject=f"{ABSOLUTE}{finding.column}",
            statistic=finding.statistic,
            value=finding.value,
            effect={"limit": finding.limit},
            rows=profile[finding.column].n,
            carriers=(finding.column,),
            reason=finding.reason,
        )
        for finding in findings
    ]


def _operations(
    window: VersionWindow, rows: VersionRows, metrics: dict[str, float], detectors: VersionDetectors | None
) -> list[Signal]:
    n, p99 = rows.scored.rows, metrics["p99_ms"]

    def signal(
        kind: Operation, statistic: str, value: float, reason: str, effect: Mapping[str, float] | None = None
    ) -> Signal:
        step = detectors.operation(kind, value, n) if detectors is not None else None
        return window.signal(
            kind,
            statistic=statistic,
            value=value,
            p=step.p if step and step.tested else None,
            p_seq=step.p_seq if step else None,
            effect={**(effect or {}), **({"rise_sd": step.rise_sd} if step else {})},
            rows=n,
            reference_windows=step.m if step else 0,
            reason=reason,
        )

    said = f"half within {metrics['p50_ms']:.2f} ms, 99% within {p99:.2f} ms"
    slow = ("99th percentile, ms", p99, said)
    if (first := metrics.get("first_token_p95_ms")) is not None:
        said = f"the first token came within {first:.0f} ms in 95% of the turns, the end within {p99:.0f} ms in 99%"
        slow = ("95th percentile of the time to the first token, ms", first, said)
    found = [signal("latency", *slow)] if detectors is not None else []
    failed = f"{rows.errors:,} of {n:,} predictions failed"
    low = {"at_least": metrics["error_rate_low"]}
    found.append(signal("error", "share of failed predictions", metrics["error_rate"], failed, low))
    cost = f"{metrics['cost']:.6f} for {n:,} predictions, from processor time"
    if "turn_cost" in metrics:
        cost = f"{metrics['cost']:.6f} for {n:,} turns, {metrics['turn_cost']:.6f} of it for what endpoints charge"
    found.append(signal("cost", "money per 1,000 predictions", 1000 * metrics["cost"] / n, cost))
    return found


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
