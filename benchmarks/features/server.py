"""The feature server beside Feast's: POST /get-online-features for 1 and 100 entities, 20 features, one connection."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.features.data import COLUMNS
from benchmarks.features.online import chosen, write_users
from benchmarks.features.timing import median_us

DEFINITIONS = """
import trimtab as tt

users = tt.FileSource("users", "users.parquet", timestamp="at")
v = tt.FeatureView("v", tt.Entity("user"), users, tt.last({columns}))
"""
READS = {1: 300, 100: 60}
PATIENCE_S = 180
LEAST = 8.0
"""How many times as quick as Feast's."""


def report(entities: int, feast: Path) -> None:
    """Measure and print."""
    print(f"\nFeature server: {entities:,} entities, {len(COLUMNS)} features, one connection", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_users(folder, entities)
        (folder / "definitions.py").write_text(DEFINITIONS.format(columns=", ".join(f'"{c}"' for c in COLUMNS)))
        port = _free_port()
        (folder / "trimtab.yaml").write_text(f"project: bench\nserving: {{ port: {port} }}\n")
        trimtab = [sys.executable, "-m", "trimtab.cli"]
        for command in (["ingest"], ["features", "backfill", "v"]):
            subprocess.run([*trimtab, *command, "--project", name], check=True, capture_output=True)
        with _running([*trimtab, "serve", "--project", name], port, folder / "trimtab.log"):
            figures = {"trimtab": _measured(port, entities)}
        if feast.exists():
            apply = [str(feast), "-m", "benchmarks.features.peers.feast.online", "apply", name, str(entities)]
            subprocess.run(apply, check=True, capture_output=True)
            port = _free_port()
            serve = [
                str(feast.with_name("feast")),
                "-c",
                str(folder / "feast"),
                "serve",
                "-p",
                str(port),
                "--no-access-log",
            ]
            with _running(serve, port, folder / "feast.log"):
                figures["feast"] = _measured(port, entities)
    print(f"{'':10}{'1 us':>9}{'100 us':>9}")
    for engine, row in figures.items():
        print(f"{engine:10}{row[1]:9.0f}{row[100]:9.0f}")
    if "feast" in figures:
        for size in READS:
            ratio = figures["feast"][size] / figures["trimtab"][size]
            kept = "" if ratio >= LEAST else "  NOT KEPT"
            print(f"  feast / trimtab, {size} entities: {ratio:.1f}x, promised >= {LEAST:g}x{kept}")


def _measured(port: int, entities: int) -> dict[int, float]:
    """Return the median time of a request by entities, in microseconds."""
    figures = {}
    client = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    for size, times in READS.items():
        names = [f"v:{name}" for name in COLUMNS]
        bodies = [
            json.dumps({"features": names, "entities": {"user": chosen(entities, size, number)}})
            for number in range(times * 2)
        ]

        def ask(number: int, bodies: list[str] = bodies) -> bytes:
            client.request("POST", "/get-online-features", bodies[number], {"Content-Type": "application/json"})
            return client.getresponse().read()

        found = json.loads(ask(0))
        assert found["results"][1]["statuses"] == ["PRESENT"] * size, found
        figures[size] = median_us(ask, times)
    client.close()
    return figures


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command} does not serve:\n{log.read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE_S)
