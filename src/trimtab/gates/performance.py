"""The performance gate: the packaged bundle, loaded and called in a fresh process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from trimtab import settings
from trimtab.gates.inputs import GateInputs
from trimtab.gates.measure import Measurement
from trimtab.policy.gates import Performance
from trimtab.policy.model import Prices
from trimtab.records.gate_reports import GateResult

TIMEOUT_S = 300
LOOK_S = 0.02
"""Time between two looks at the memory of the process."""
READER = 300_000_000
"""Bytes for the library that reads the rows, which memory_mb does not count."""


def judge_performance(inputs: GateInputs, policy: Performance) -> tuple[GateResult, ...]:
    """Judge latency, memory, start, size and cost of a process that serves the bundle."""
    found = run_measure(inputs.folder, trust=inputs.trust, most=_most(policy.memory))
    if isinstance(found, TooMuch):
        return (_too_much(found, policy),)
    if isinstance(found, str):
        return (_broken(found),)
    size = sum(path.stat().st_size for path in inputs.folder.rglob("*") if path.is_file())
    cost = 1000 * _cost(found, inputs.prices)
    details = {**msgspec.structs.asdict(found), "size": size, "cost_per_1000": cost}
    rounds = ", ".join(f"{each / 1000:.3g}" for each in found.rounds_p99_us)
    noted = f" (rounds: {rounds} ms; load {found.load:.1f} on {found.cores} cores)"
    limits: list[tuple[str, float, float | None, str, str]] = [
        ("p99_ms", found.p99_us / 1000, policy.p99 / 1000, f"of {found.calls} single rows{noted}", "ms"),
        ("memory_mb", found.memory_mb, policy.memory / 1e6, "of a fresh process with the bundle", "MB"),
        ("cold_start_s", found.cold_start_seconds, _per(policy.cold_start, 1e6), "of a fresh process", "s"),
        ("size_mb", size / 1e6, _per(policy.size, 1e6), "of the bundle's files", "MB"),
        ("cost_per_1000", cost, policy.cost_per_1000, "of 1,000 predictions of single rows", "of the currency"),
    ]
    return tuple(
        _judge(metric, value, limit, what, unit, details)
        for metric, value, limit, what, unit in limits
        if limit is not None
    )


class TooMuch(NamedTuple):
    """The process was ended because it took too much memory."""

    taken: int
    """Bytes, when it was ended."""


def run_measure(folder: Path, *, trust: Sequence[str] = (), most: int | None = None) -> Measurement | TooMuch | str:
    """Measure a bundle in a fresh process; return what is wrong when that fails. most: bytes that it may take, with
    the reader of the rows; beyond, it is ended."""
    started = str(time.perf_counter_ns())
    command = [sys.executable, "-P", "-m", "trimtab.gates.measure", str(folder.absolute()), started, *trust]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as wrong:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=wrong,
            stdin=subprocess.DEVNULL,
            env=settings.child_environment(OMP_NUM_THREADS="1"),
        )
        try:
            ended = _watch(process, most)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        if ended is not None:
            return ended
        said.seek(0)
        wrong.seek(0)
        if process.returncode != 0:
            lines = wrong.read().decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else f"the process ended with code {process.returncode}"
        return msgspec.json.decode(said.read(), type=Measurement)


def _watch(process: subprocess.Popen[bytes], most: int | None) -> TooMuch | str | None:
    """Wait for the end of a process. Return what is wrong when it takes too much memory or time: it then still runs."""
    deadline = time.monotonic() + TIMEOUT_S
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):
            taken = watched.memory_info().rss
            if most is not None and taken > most:
                return TooMuch(taken)
        if time.monotonic() > deadline:
            return f"it did not end within {TIMEOUT_S} s"
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)
    return None


def _most(memory: int) -> int:
    """Return how many bytes the process may take before it is ended: the limit, and room for what measures."""
    return 2 * memory + READER


def _cost(found: Measurement, prices: Prices) -> float:
    """Return the cost of one prediction: its processor time, and the memory for as long as it takes."""
    hours, gigabytes = found.p50_us / 3.6e9, found.memory_mb / 1000
    return found.cpu_us / 3.6e9 * prices.cpu_hour + gigabytes * hours * prices.memory_gb_hour


def _per(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _too_much(found: TooMuch, policy: Performance) -> GateResult:
    taken, limit = found.taken / 1e6, policy.memory / 1e6
    words = f"a fresh process with the bundle was ended when it had taken {taken:.0f} MB; the limit is {limit:g} MB "
    words += "(gates.performance.memory)"
    return GateResult(
        gate=Performance.GATE,
        metric="memory_mb",
        verdict="fail",
        value=taken,
        low=None,
        high=None,
        threshold=limit,
        reason=words,
    )


def _judge(metric: str, value: float, limit: float, what: str, unit: str, details: dict[str, Any]) -> GateResult:
    over = value > limit
    key = metric if metric == "cost_per_1000" else metric.rpartition("_")[0]
    name = {"cold_start_s": "cold start", "cost_per_1000": "cost"}.get(metric, metric.split("_", maxsplit=1)[0])
    reason = f"{name} {what} is {value:.3g} {unit}, " + (
        f"{value - limit:.3g} {unit} over the limit of {limit:g} {unit} (gates.performance.{key})"
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
