"""Reads in a child process what needs libraries that a server must not load: rows of tables and logs, models, MLflow.

The child answers one read after the other and ends when none came for IDLE_S, so that its memory is used only then.
"""

from __future__ import annotations

import subprocess
import threading
from typing import Any, TypeVar

import msgspec

from trimtab import errors
from trimtab.app.project.child_processes import READER, ReadAnswer, ReaderOrder, ReadRequest
from trimtab.app.project.workspace import Workspace
from trimtab.errors import StoreError, Temporary, TrimtabError

T = TypeVar("T")

IDLE_S = 60.0
"""A child ends when no read came for so long."""
LIMIT_S, LANE_LIMIT_S = 60.0, 120.0
"""A read that takes longer is ended; the second one holds in a lane of its own."""
MOST = 8
"""Reads of a process that run or wait, fewer than a server has threads: pages that need no read go on."""
AFTER_S = 5.0


class ReadersBusy(StoreError, Temporary):
    """MOST reads run or wait already."""

    after_s = AFTER_S


class Reader:
    """Runs the functions of `reader_program.READS` in one child process. Threads may share it."""

    def __init__(self, order: ReaderOrder, *, lane: str = "") -> None:
        self._order = order
        self._lane = lane
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None

    def read(self, name: str, type_: type[T], /, **arguments: Any) -> T:
        """Return what a read gives.

        Args:
            name: of the function.
            type_: of its value, which comes as JSON.
            arguments: values that JSON has.

        Raises:
            ReadersBusy: too many reads run or wait.
            TrimtabError: as the function; StoreError when the child ended, or a read took longer than its limit.
        """
        if not _PLACES.acquire(blocking=False):
            raise ReadersBusy(f"{MOST} reads of tables and logs run or wait already; try again in {AFTER_S:.0f} s")
        try:
            answer = self._answer(ReadRequest(read=name, arguments=arguments))
        finally:
            _PLACES.release()
        if answer.error:
            raise _error(answer)
        return msgspec.json.decode(answer.value, type=type_)

    def _answer(self, request: ReadRequest) -> ReadAnswer:
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            try:
                return self._ask(request)
            finally:
                self._idle = threading.Timer(IDLE_S, self._end_idle)
                self._idle.daemon = True
                self._idle.start()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            self._end()

    def _ask(self, request: ReadRequest) -> ReadAnswer:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        seconds = LANE_LIMIT_S if self._lane else LIMIT_S
        limit = threading.Timer(seconds, process.kill)
        limit.daemon = True
        limit.start()
        try:
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        finally:
            limit.cancel()
        if not line.endswith(b"\n"):
            self._end()
            raise StoreError(
                f"reading '{request.read}' ended with exit code {process.returncode}: it needed too much memory, or "
                f"more than {seconds:.0f} s; the output of this process says more"
            )
        return msgspec.json.decode(line, type=ReadAnswer)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(READER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._process.stdin is not None
            self._process.stdin.write(msgspec.json.encode(self._order) + b"\n")
        return self._process

    def _end_idle(self) -> None:
        if self._lock.acquire(blocking=False):  # else a read goes on, and sets the timer anew
            try:
                self._end()
            finally:
                self._lock.release()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def reader(workspace: Workspace, *, lane: str = "") -> Reader:
    """Return the reader of a project and environment, one in each process and lane.

    lane: reads of one lane wait for each other; a long one gets a lane of its own.
    """
    order = ReaderOrder(
        project=str(workspace.project.folder.absolute()), environment=workspace.environment.model_dump_json()
    )
    with _LOCK:
        return _READERS.setdefault((order, lane), Reader(order, lane=lane))


def close_readers() -> None:
    """End all children."""
    with _LOCK:
        for each in _READERS.values():
            each.close()
        _READERS.clear()


def _error(answer: ReadAnswer) -> TrimtabError:
    kind = getattr(errors, answer.error, None)
    known = isinstance(kind, type) and issubclass(kind, TrimtabError)
    error: TrimtabError = kind(answer.text) if known else TrimtabError(answer.text)  # type: ignore[misc]  # checked
    return error


_LOCK = threading.Lock()
_PLACES = threading.BoundedSemaphore(MOST)
_READERS: dict[tuple[ReaderOrder, str], Reader] = {}
