"""Records of gates."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.records.record import Record, Verdict


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
