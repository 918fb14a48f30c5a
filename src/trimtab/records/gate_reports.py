"""Records of gates."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.records.record import Record, Verdict


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's figure, interval, threshold and verdict."""

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
    """All gates of one run; id is `run/gates/key`, plus a number where it was judged again by force."""

    KIND = "gate_report"
    KEYS = ("model", "run", "verdict")

    model: str
    run: str
    champion: str | None
    """Id of the bundle it was compared with."""
    key: str = ""
    """Hash of what the verdicts depend on beside the run: gates, champion, trust, release; empty in older reports."""
    verdict: Verdict
    results: tuple[GateResult, ...]
