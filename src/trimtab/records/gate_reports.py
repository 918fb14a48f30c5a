"""Records of gates."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from trimtab.records.record import Record, Verdict
from trimtab.records.training import Baseline


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's value, interval, threshold and verdict."""

    gate: str
    metric: str
    verdict: Verdict
    value: float
    low: float | None
    high: float | None
    threshold: float | None
    reason: str
    details: dict[str, Any] = {}


class HeldOutWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate compared with the champion in one window that neither was trained on."""

    start: datetime
    end: datetime
    rows: int
    gains: dict[str, float]
    """Metric -> how much better the candidate was, in its unit; less than 0 when worse."""


class GateReport(Record, frozen=True, kw_only=True):
    """All gates of one run; id is `run/gates/key`, plus a number when `evaluate --force` judged it again."""

    KIND = "gate_report"
    KEYS = ("model", "run", "verdict")

    model: str
    run: str
    champion: str | None
    """Id of the bundle it was compared with."""
    key: str = ""
    """Hash of gates, champion, trust and release, on which the verdicts depend in addition to the run.

    Empty in older reports.
    """
    verdict: Verdict
    results: tuple[GateResult, ...]
    baselines: tuple[Baseline, ...] = ()
    """The run compared with what needs no model, and with the champion at its training; no verdict rests on them."""
    thresholds: str = ""
    """Hash of the policy's gates by which it was judged; empty in older reports."""
    frozen: str = ""
    """Hash of the policy's gates before the run; empty where that is not known."""
    frozen_at: datetime | None = None
    """When they were frozen."""
    runtime: str = ""
    """The library that serves the model; empty in older reports."""
    runtime_reason: str = ""
    """Why it is not ONNX Runtime; empty when it is."""
    held_out: tuple[HeldOutWindow, ...] = ()
    """Windows of the holdout in order of time, as evidence for the comparison with `champion`."""
