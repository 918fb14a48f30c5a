"""A measurement that is told to end takes the servers along that it started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from benchmarks.serving.processes import is_alive

from kit.waiting import PATIENCE_S

SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""
DRIVER = """
import sys
import threading
from pathlib import Path
from benchmarks.serving.servers import running
from benchmarks.serving.targets import Ask, Target

folder = Path(sys.argv[1])
target = Target(
    name="any",
    title="any",
    command=lambda port: [sys.executable, str(folder / "server.py"), str(port)],
    work=folder,
    folder=folder,
    environment=lambda port: {},
    ask=lambda row: Ask(path="/", body=b""),
    answer=lambda body: None,
)
with running(target, ()) as first, running(target, ()) as second:
    print(first.process.pid, second.process.pid, flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_server_outlives_a_measurement_that_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as driver:
        assert driver.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
        driver.send_signal(number)
        driver.send_signal(number)  # somebody impatient
        assert driver.wait(PATIENCE_S) == 128 + number
    assert not any(is_alive(server) for server in servers)
