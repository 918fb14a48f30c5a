"""Loads one server with wrk and returns its measurements."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from benchmarks.serving.processes import cpu_seconds
from benchmarks.serving.servers import LOCALHOST
from benchmarks.serving.targets import Ask

MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
NO_WRK = (
    "the load comes from wrk, which is not installed. Debian and Ubuntu: apt-get install wrk; macOS: brew install wrk"
)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The measurements of one server under one load."""

    requests: float
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: float
    cpu_us: float
    """Processor time of the server's process tree, divided by the requests."""


def has_wrk() -> bool:
    """Return whether wrk can be run."""
    return shutil.which("wrk") is not None


def measure(port: int, pid: int, ask: Ask, *, connections: int, seconds: int) -> Figures:
    """Load a server with one repeated request; return the measurements."""
    before = cpu_seconds(pid)
    text = _wrk(port, ask, connections, seconds)
    used = cpu_seconds(pid) - before
    return read(text, cpu_s=used)


def read(text: str, *, cpu_s: float) -> Figures:
    """Return the measurements in wrk's output. A server that answered nothing has none: its requests are 0."""
    requests = int(_find(r"(\d+) requests in", text))
    failed = int(_find(r"Non-2xx or 3xx responses: (\d+)", text))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Figures(
        requests=requests,
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", text)),
        p50_ms=_quantile("50%", text),
        p99_ms=_quantile("99%", text),
        failed=failed + (sum(map(int, errors.groups())) if errors else 0),
        cpu_us=1e6 * cpu_s / max(1, requests),
    )


def middle(several: Sequence[Figures]) -> Figures:
    """Return the median of each measurement, and the sum of the failures."""
    medians = {field.name: median(getattr(one, field.name) for one in several) for field in fields(Figures)}
    return Figures(**(medians | {"failed": sum(one.failed for one in several)}))


def _wrk(port: int, ask: Ask, connections: int, seconds: int) -> str:
    headers = {"Content-Type": "application/json", **ask.headers}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        lines = ["wrk.method = 'POST'", f"wrk.body = [==[{ask.body.decode()}]==]"]
        lines += [f"wrk.headers['{name}'] = [==[{value}]==]" for name, value in headers.items()]
        script.write_text("\n".join(lines))
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "10s",
            "--latency",
            "-s",
            str(script),
        ]
        done = subprocess.run(
            [*command, f"http://{LOCALHOST}:{port}{ask.path}"], capture_output=True, text=True, check=True
        )
    return done.stdout


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else "0"


def _quantile(name: str, text: str) -> float:
    found = re.search(rf"^\s+{name}\s+([\d.]+)(us|ms|s|m)\b", text, re.MULTILINE)
    return float(found.group(1)) * MILLISECONDS[found.group(2)] if found else 0.0
