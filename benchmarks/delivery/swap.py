"""`python -m benchmarks.delivery.swap [--swaps 6]`: promotions from staging to production, and ways back, under load.

A gateway of production answers an even load over several connections. Meanwhile bundles that serve in staging are
promoted (blue-green), and each promotion is rolled back. Measured are failed requests, answers by version, and two
times of each swap: of the whole command, and from the revision's record to the first answer by it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.serving.clients import Clients
from benchmarks.serving.servers import LOCALHOST
from trimtab.app.delivery.promotion import bundle_to_promote, promote
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.rollout_orders import rollback
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.clock import SystemClock
from trimtab.records.gate_reports import GateReport
from trimtab.records.serving import Revision
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

ENTITIES = 1_000
CONNECTIONS = 16
PER_SECOND = 400
PATIENCE_S = 60.0
REST_S = 1.0
DAY = datetime(2026, 1, 1, tzinfo=UTC)
WHO = Actor(name="benchmark", role="admin")
DEFINITIONS = """
import trimtab as tt

rows = tt.FileSource("rows", "rows.parquet", timestamp="at")
delay = tt.Model("delay", task="binary", examples=rows, label="late", features=["row"])
"""
POLICY = """
project: swaps
serving: { port: 0, workers: WORKERS }
rollout: { strategy: blue-green }
environments: { staging: {}, production: { from: staging } }
"""


def main() -> int:
    """Measure and print; return 1 if a request failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery.swap", description=__doc__)
    parser.add_argument("--swaps", type=int, default=6, help="promotions; each is rolled back")
    parser.add_argument("--workers", type=int, default=1, help="processes of the gateway")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "definitions.py").write_text(DEFINITIONS)
        (project / "trimtab.yaml").write_text(POLICY.replace("WORKERS", str(asked.workers)))
        staging, production = (open_workspace(project, name) for name in ("staging", "production"))
        serve_in_staging(staging, 1)
        _promote(staging, production)
        with gateway(production) as port, Clients(
            port, _request, entities=ENTITIES, connections=CONNECTIONS, per_second=PER_SECOND
        ) as clients:  # fmt: skip
            took: dict[str, list[tuple[float, float]]] = {"promotion": [], "way back": []}
            for version in range(2, 2 + asked.swaps):
                serve_in_staging(staging, version)
                took["promotion"].append(timed(clients, lambda: _promote(staging, production)))
                took["way back"].append(timed(clients, lambda: rollback(production, WHO, "delay", reason="a test")))
        seen = clients.seen
    versions = Counter(each.version for each in seen.acknowledged)
    print(f"{len(seen.took_ms):,} requests over {CONNECTIONS} connections, {asked.workers} workers; p50 ", end="")
    print(f"{seen.quantile_ms(0.5):.1f} ms, p99 {seen.quantile_ms(0.99):.1f} ms, largest {max(seen.took_ms):.0f} ms")
    for what, times in took.items():
        whole, swap = max(each[0] for each in times), sorted(each[1] for each in times)
        print(f"{len(times)} times {what}: whole at most {whole:.2f} s; from the revision to its first answer ", end="")
        print(f"{swap[len(swap) // 2]:.2f} s (median), {swap[-1]:.2f} s (largest)")
    print(f"answers by version: {dict(sorted(versions.items()))}")
    failed = len(seen.failures) + seen.unreachable
    print(f"failed: {failed} {seen.failures[:3]}")
    return int(failed > 0)


def serve_in_staging(staging: Workspace, version: int) -> None:
    """Register a version in staging and let it serve there."""
    staging.metadata.put(
        GateReport(id="none", created_at=DAY, model="delay", run="run", champion=None, verdict="pass", results=())
    )
    graph = lookup_graph([min(0.9, 0.05 * version + 0.001 * row) for row in range(ENTITIES)])
    spec = plain_spec("delay", ["row"])
    made = register_bundle(staging.metadata, staging.artifacts, graph, spec, version=version, created_at=staging.now())
    open_rollouts(staging, "delay").deploy(made, cause=f"deploy {version}", reason="a benchmark", by="benchmark")


def _promote(staging: Workspace, production: Workspace) -> Revision:
    found = bundle_to_promote(staging, "delay", None)
    return promote(staging, production, WHO, found, reason="a benchmark")


def timed(clients: Clients, change: Callable[[], Revision]) -> tuple[float, float]:
    """Return the seconds that a change of what serves took, and those from its revision to the first answer by it."""
    SystemClock().sleep(REST_S)
    began = time.perf_counter()
    revision = change()
    written = time.perf_counter()
    at = len(clients.seen.acknowledged)
    while not any(each.revision == revision.number for each in clients.seen.acknowledged[at:]):
        if time.perf_counter() - written > PATIENCE_S:
            raise SystemExit(f"revision {revision.number} was not taken up")
        SystemClock().sleep(0.002)
    return written - began, time.perf_counter() - written


@contextmanager
def gateway(production: Workspace) -> Iterator[int]:
    """Run the gateway of production as a user starts it; yield its port."""
    folder = production.project.folder
    command = [sys.executable, "-m", "trimtab.cli", "serve", "--project", str(folder), "--env", production.name]
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (found := running_gateway(production.run_folder)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / "gateway.log").read_text())
            SystemClock().sleep(0.05)
        yield found.port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def _request(entity: int) -> bytes:
    body = json.dumps({"inputs": [{"name": "row", "shape": [1], "datatype": "FP64", "data": [float(entity)]}]}).encode()
    head = f"POST /v2/models/delay/infer HTTP/1.1\r\nhost: {LOCALHOST}\r\ncontent-type: application/json\r\n"
    return head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    sys.exit(main())
