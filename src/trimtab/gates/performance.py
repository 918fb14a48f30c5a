"""The performance gate: the packaged bundle, loaded and called in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab import settings
from trimtab.gates.inputs import GateInputs
from trimtab.gates.measure import Measurement
from trimtab.policy.gates import Performance
from trimtab.records.gate_reports import GateResult

TIMEOUT_S = 300


def judge_performance(inputs: GateInputs, policy: Performance) -> tuple[GateResult, ...]:
    """Judge the latency of one row and the memory of a process that serves the bundle."""
    found = run_measure(inputs.folder, trust=inputs.trust)
    if isinstance(found, str):
        return (_broken(found),)
    details: dict[str, Any] = msgspec.structs.asdict(found)
    limit_ms, limit_mb = policy.p99 / 1000, policy.memory / 1e6
    latency = _judge("p99_ms", found.p99_us / 1000, limit_ms, f"of {found.calls} single rows", "ms", details)
    memory = _judge("memory_mb", found.memory_mb, limit_mb, "of a fresh process with the bundle", "MB", details)
    return latency, memory


def run_measure(folder: Path, *, trust: Sequence[str] = ()) -> Measurement | str:
    """Measure a bundle in a fresh process; return what is wrong when that fails."""
    command = [sys.executable, "-P", "-m", "trimtab.gates.measure", str(folder.absolute()), *trust]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env=settings.child_environment(OMP_NUM_THREADS="1"),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {TIMEOUT_S} s"
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the process ended with code {done.returncode}"
    return msgspec.json.decode(done.stdout, type=Measurement)


def _judge(metric: str, value: float, limit: float, what: str, unit: str, details: dict[str, Any]) -> GateResult:
    over = value > limit
    name = metric.split("_", maxsplit=1)[0]
    reason = f"{name} {what} is {value:.3g} {unit}, " + (
        f"{value - limit:.3g} {unit} over the limit of {limit:g} {unit}"
        if over
        else f"within the limit of {limit:g} {unit}"
    )
    return GateResult(
        gate=Performance.GATE,
        metric=metric,
        verdict="fail" if over else "pass",
        value=value,
        low=None,
        high=None,
        threshold=limit,
        reason=reason,
        details=details,
    )


def _broken(problem: str) -> GateResult:
    return GateResult(
        gate=Performance.GATE,
        metric="loads",
        verdict="fail",
        value=0.0,
        low=None,
        high=None,
        threshold=1.0,
        reason=f"the bundle could not be measured in a fresh process: {problem}",
    )
