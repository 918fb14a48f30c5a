"""`trimtab serve` as the platforms run it: nothing but a verb, the environment, and a folder with a model."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from clients.gateway import FEATURES
from kit.waiting import PATIENCE_S, wait_for
from trimtab import settings
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def container(folder: Path, health: str, port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the verb in an empty folder until the health check passes, then until the block ends."""
    command = [sys.executable, "-c", "from trimtab.cli import main; main()", "serve"]
    process = subprocess.Popen(command, cwd=folder, env=settings.child_environment(**environment))

    def healthy() -> bool:
        assert process.poll() is None, "the gateway ended"
        try:
            return httpx.get(f"http://127.0.0.1:{port}{health}").is_success
        except httpx.TransportError:
            return False

    try:
        wait_for(healthy, "the gateway is healthy")
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_a_bundle_is_served_as_vertex_asks(tmp_path: Path) -> None:
    model, port = tmp_path / "my model", free_port()
    pack_bundle(model, lookup_graph((0.125, 0.75), len(FEATURES)), plain_spec("delay", FEATURES))
    empty = tmp_path / "work"
    empty.mkdir()
    asked = {
        "AIP_MODE": "PREDICTION",
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/up",
        "AIP_PREDICT_ROUTE": "/ask",
        "AIP_STORAGE_URI": model.as_uri(),
    }
    with container(empty, "/up", port, **asked) as process:
        body: Any = {"instances": [{"row": 1, "wind": 8.5}]}
        assert httpx.post(f"http://127.0.0.1:{port}/ask", json=body).json() == {"predictions": [0.75]}
        listening = {c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"}
        assert listening == {"0.0.0.0"}
    assert process.returncode == 0
