"""Prepares and starts server processes, waits for the first correct answer, and stops them."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from benchmarks.serving.processes import cpu_seconds, tree
from benchmarks.serving.targets import Answered, Ask, Target
from trimtab import settings
from trimtab.clock import SystemClock

PATIENCE_S = 90
LOCALHOST = "127.0.0.1"
LOG = "server.log"
"""What the server said, in its own folder."""
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a measurement to end; SIGINT is Ctrl-C."""


class NotRunning(Exception):
    """A server could not be installed, prepared or started; the text says why."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    target: Target
    port: int
    process: subprocess.Popen[bytes]
    cold_s: float
    """From the start of the process to the first prediction that it answered."""
    cold_cpu_s: float
    """Processor time until then: what the start takes on a machine that does nothing else."""

    def predict(self, row: Sequence[float]) -> Answered:
        """Return the answer for one row. Raises NotRunning when it is not 200."""
        status, body = post(self.port, self.target.ask(row))
        if status != 200:
            raise NotRunning(f"{self.target.title} answered {status}: {body[:200].decode(errors='replace')}")
        return self.target.answer(body)


@contextmanager
def running(target: Target, row: Sequence[float]) -> Iterator[Server]:
    """Run a server on a free port until it is no longer needed; `row` is asked until it is answered.

    Raises NotRunning.
    """
    if target.missing is not None:
        raise NotRunning(target.missing)
    port = free_port()
    with unwinding():
        _prepare(target, port)
        began = time.perf_counter()
        process = start(target, port)
        try:
            until_answered(target, port, process, row)
            cold_s = time.perf_counter() - began
            yield Server(target, port, process, cold_s, cpu_seconds(process.pid))
        finally:
            stop(process)


@contextmanager
def unwinding() -> Iterator[None]:
    """Let a SIGTERM or SIGHUP leave every context of this process, as Ctrl-C does, so that servers are ended.

    Further ones, and further Ctrl-Cs, are passed over: they would break off the ending. Does nothing in a thread, nor
    within itself.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _leave:
        yield
        return
    before = {number: signal.signal(number, _leave) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(target: Target, port: int) -> subprocess.Popen[bytes]:
    """Start a server that was prepared."""
    with (target.work / LOG).open("ab") as output:
        return subprocess.Popen(
            target.command(port),
            cwd=target.folder,
            env=_environment(target, port),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def until_answered(target: Target, port: int, process: subprocess.Popen[bytes], row: Sequence[float]) -> None:
    """Ask for a prediction over and over until it comes. Raises NotRunning when the process ends or takes too long."""
    ask, began = target.ask(row), time.perf_counter()
    while (said := _said(port, ask)) is not None:
        if process.poll() is not None:
            raise NotRunning(f"ended with {process.returncode}: {_last_line(target)}")
        if time.perf_counter() - began > PATIENCE_S:
            raise NotRunning(f"did not answer within {PATIENCE_S} s: {said or _last_line(target)}")
        SystemClock().sleep(0.01)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and whatever it started."""
    started = tree(process.pid)
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for one in started:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(PATIENCE_S)


def free_port() -> int:
    """Return a port that is free now, with two free ones behind it for servers that take three."""
    while True:
        with socket.create_server((LOCALHOST, 0)) as probe:
            port = int(probe.getsockname()[1])
        if port < 65_000 and all(_is_free(port + more) for more in (1, 2)):
            return port


def post(port: int, ask: Ask) -> tuple[int, bytes]:
    """Send one request on a connection of its own; return status and body."""
    connection = http.client.HTTPConnection(LOCALHOST, port, timeout=10)
    try:
        connection.request("POST", ask.path, ask.body, {"content-type": "application/json", **ask.headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _leave(number: int, frame: FrameType | None) -> None:
    for each in ENDINGS:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _said(port: int, ask: Ask) -> str | None:
    """Return None when a request is answered with 200, else what came instead, or nothing."""
    try:
        status, body = post(port, ask)
    except (OSError, http.client.HTTPException):
        return ""
    return None if status == 200 else f"{status} {body[:200].decode(errors='replace')}"


def _is_free(port: int) -> bool:
    try:
        socket.create_server((LOCALHOST, port)).close()
    except OSError:
        return False
    return True


def _environment(target: Target, port: int) -> dict[str, str]:
    binaries = Path(target.command(port)[0]).parent
    path = f"{binaries}:{settings.child_environment()['PATH']}"
    return settings.child_environment(OMP_NUM_THREADS="1", PATH=path, **target.environment(port))


def _prepare(target: Target, port: int) -> None:
    if not target.prepare:
        return
    with (target.work / LOG).open("ab") as output:
        done = subprocess.run(
            target.prepare,
            cwd=target.folder,
            env=_environment(target, port),
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode:
        raise NotRunning(f"could not be prepared: {_last_line(target)}")


def _last_line(target: Target) -> str:
    """Return the last line that tells of an error, or else the last one."""
    lines = (target.work / LOG).read_text(errors="replace").strip().splitlines()
    telling = [line for line in lines if "error" in line.lower()]
    return (telling or lines or ["it said nothing"])[-1][:300]
