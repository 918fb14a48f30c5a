"""Server processes: start, wait until ready, stop."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from trimtab import settings
from trimtab.clock import SystemClock

HERE = Path(__file__).parent
PATIENCE_S = 60


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    cold_s: float
    """From the start of the process to the first answer that says it is ready."""
    cold_cpu_s: float
    """Processor time until then: what the start takes on a machine that does nothing else."""

    @property
    def memory_mb(self) -> float:
        """Resident memory now."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6


@contextmanager
def running(name: str, script: str, argument: Path) -> Iterator[Server]:
    """Run a server script of this folder on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), str(argument), str(port)],
        env=settings.child_environment(OMP_NUM_THREADS="1"),
    )
    try:
        while not _ready(port):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                raise RuntimeError(f"{script} did not start")
            SystemClock().sleep(0.01)
        cold_s, used = time.perf_counter() - began, psutil.Process(process.pid).cpu_times()
        yield Server(name, port, process, cold_s, used.user + used.system)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
