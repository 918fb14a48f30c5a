"""Load on one server: wrk where it is installed, else a client of our own. Figures of what came back."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from benchmarks.serving.model import FEATURES, MODEL

PATH = f"/v2/models/{MODEL}/infer"
ROW = [round((n * 37 % 17) / 7 - 1, 6) for n in range(FEATURES)]
BODY = msgspec.json.encode({"inputs": [{"name": "X", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW}]})
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one server did under one load."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: float
    """Processor time of the server, divided by the requests."""


def generator() -> str:
    """Return the name of the load generator."""
    return "wrk" if shutil.which("wrk") else "an asyncio client"


def measure(port: int, pid: int, *, connections: int, seconds: int) -> Figures:
    """Load a server and return its figures."""
    server = psutil.Process(pid)
    before = server.cpu_times()
    run = _wrk if shutil.which("wrk") else _asyncio
    requests, per_second, p50_ms, p99_ms, failed = run(port, connections, seconds)
    after = server.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return Figures(
        requests=requests,
        per_second=per_second,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        failed=failed,
        cpu_us=1e6 * cpu_s / max(1, requests),
    )


Counts = tuple[int, float, float, float, int]


def _wrk(port: int, connections: int, seconds: int) -> Counts:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(
            f"wrk.method = 'POST'\nwrk.body = '{BODY.decode()}'\nwrk.headers['Content-Type'] = 'application/json'\n"
        )
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
        text = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{PATH}"], capture_output=True, text=True, check=True
        ).stdout
    requests = int(_find(r"(\d+) requests in", text))
    failed = int(_find(r"Non-2xx or 3xx responses: (\d+)", text))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed += sum(map(int, errors.groups())) if errors else 0
    return (
        requests,
        float(_find(r"Requests/sec:\s+([\d.]+)", text)),
        _quantile("50%", text),
        _quantile("99%", text),
        failed,
    )


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else "0"


def _quantile(name: str, text: str) -> float:
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found.group(1)) * MILLISECONDS[found.group(2)] if found else 0.0


def _asyncio(port: int, connections: int, seconds: int) -> Counts:
    return asyncio.run(_clients(port, connections, seconds))


async def _clients(port: int, connections: int, seconds: int) -> Counts:
    took: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"

    async def client() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (start := time.perf_counter()) < end:
            writer.write(head.encode() + BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            await reader.readexactly(int(length.group(1)) if length else 0)
            failed += not answer.startswith(b"HTTP/1.1 200")
            took.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*[client() for _ in range(connections)])
    took.sort()
    return len(took), len(took) / seconds, 1e3 * took[len(took) // 2], 1e3 * took[int(len(took) * 0.99)], failed
