"""Scores with a model in a process of its own.

The process is killed when it does not answer in time, and started again when it has ended. The caller's memory holds
only the rows that are sent. The process ends when the pipe is closed or the caller ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import settings
from trimtab.bundle.scorer import TIMEOUT_S
from trimtab.errors import DataError, Temporary, TrimtabError
from trimtab.lazy_library import LazyLibrary
from trimtab.runtimes import pipe_frames, priority

if TYPE_CHECKING:
    import numpy as np
else:
    np = LazyLibrary("numpy")  # the supervisor of a gateway imports this file

START_TIMEOUT_S = 120.0
"""Longest wait for a process to load its model: libraries may take seconds to import, and some models are large."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Pauses between attempts to start a process that fails to start, in seconds; each is twice the one before."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}


class ProcessFailed(TrimtabError, Temporary):
    """The model's process failed, or did not answer in time. It is started again."""


class ModelProcess:
    """A process that runs `program` (a module) for a folder's model. It is started at once; `greeting` waits for it.

    arguments: of the program. opening: the first frame, sent before the process writes its hello. timeout_s: longest
    wait for scores. low_priority: it runs only when the processor is otherwise idle. Safe to share between threads.
    Raises ProcessFailed when the process cannot be started.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        arguments: Sequence[str] = (),
        opening: bytes = b"",
        timeout_s: float = TIMEOUT_S,
        low_priority: bool = False,
    ) -> None:
        self.folder = folder
        self._command = [sys.executable, "-P", "-m", program, *arguments]
        self._opening = opening
        self._timeout_s = timeout_s
        self._low_priority = low_priority
        self._lock = threading.Lock()
        self._handle = _Handle(low_priority=low_priority)
        self.closed = False
        weakref.finalize(self, self._handle.kill)
        self._launch()

    @property
    def pid(self) -> int | None:
        """Id of the process that runs the model now; None when none runs."""
        return self._handle.pid

    def greeting(self) -> str:
        """Wait until the model is loaded; return the text of the hello. Raises DataError when it cannot be loaded."""
        with self._lock:
            return self._greeted(time.monotonic() + START_TIMEOUT_S)

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows, (rows,) or (rows, classes).

        Raises ProcessFailed when the process failed, DataError when the model did.
        """
        if not len(X):
            return np.empty(0)
        frame = pipe_frames.pack_rows(X)
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            kind, content = self._exchange(frame, deadline)
        if kind == pipe_frames.ERROR:
            raise DataError(f"{self.folder.name}: {content.decode(errors='replace')}")
        scores = np.frombuffer(content, dtype="<f8").astype(np.float64)
        if kind != pipe_frames.SCORES or not scores.size or scores.size % len(X):
            raise DataError(f"{self.folder.name}: the model gave {scores.size} numbers for {len(X)} rows")
        return scores if scores.size == len(X) else scores.reshape(len(X), -1)

    def close(self) -> None:
        """End the process; a score under way fails."""
        self.closed = True
        self._handle.stop()
        with self._lock:
            self._handle.kill()

    def _exchange(self, frame: bytes, deadline: float) -> tuple[bytes, bytearray]:
        if not self._handle.alive:
            self._launch()
        if not self._handle.greeted:
            self._greeted(deadline)
        try:
            pipe_frames.write(self._handle.stdin, frame, deadline=deadline)
            return pipe_frames.read(self._handle.stdout, deadline=deadline)
        except pipe_frames.Late:
            if self._low_priority:  # pause before the next start, so that the next call fails at once
                self._handle.failed(f"it did not answer within {self._timeout_s:g} s")
            else:
                self._launch()
            raise ProcessFailed(
                f"{self.folder.name}: the model did not answer within {self._timeout_s:g} s; its process was killed "
                "and is started again"
            ) from None
        except (pipe_frames.Gone, OSError):
            ended = self._handle.ending()
            self._launch()
            raise ProcessFailed(
                f"{self.folder.name}: the model's process {ended} while it scored; it is started again"
            ) from None

    def _launch(self) -> None:
        """Start the process. Raises ProcessFailed during the pause after a failed start."""
        handle, now = self._handle, time.monotonic()
        handle.kill()
        if self.closed:
            raise ProcessFailed(f"{self.folder.name}: the model was closed")
        if now < handle.not_before:
            raise ProcessFailed(
                f"{self.folder.name}: the model's process fails to start ({handle.problem}); the next attempt is in "
                f"{handle.not_before - now:.0f} s"
            )
        try:
            handle.start(self._command)
        except OSError as error:  # no memory, or too many processes
            handle.failed(f"it cannot be started: {error}")
            raise ProcessFailed(f"{self.folder.name}: the model's process cannot be started: {error}") from error

    def _greeted(self, deadline: float) -> str:
        """Wait until the process has loaded the model; return the text of the hello."""
        handle = self._handle
        try:
            if not handle.opened:
                pipe_frames.write(handle.stdin, self._opening, deadline=handle.started + START_TIMEOUT_S)
                handle.opened = True
            kind, content = pipe_frames.read(handle.stdout, deadline=deadline)
        except pipe_frames.Late:
            if time.monotonic() - handle.started < START_TIMEOUT_S:
                raise ProcessFailed(f"{self.folder.name}: the model is still being loaded") from None
            handle.failed(f"it was not loaded within {START_TIMEOUT_S:g} s")
            raise DataError(f"{self.folder}: the model cannot be loaded: {handle.problem}") from None
        except (pipe_frames.Gone, OSError):
            handle.failed(f"its process {handle.ending()} while it was loaded")
            raise DataError(f"{self.folder}: the model cannot be loaded: {handle.problem}") from None
        text = content.decode(errors="replace")
        if kind != pipe_frames.HELLO:
            handle.failed(text)
            raise DataError(f"{self.folder}: the model cannot be loaded: {text}")
        handle.came_up()
        return text


class _Handle:
    """The current process and its start attempts. A separate object, so that a finalizer of ModelProcess can end it."""

    def __init__(self, *, low_priority: bool) -> None:
        self._low_priority = low_priority
        self._process: subprocess.Popen[bytes] | None = None
        self.opened = False
        self.greeted = False
        self.started = 0.0
        self.not_before = 0.0
        self.problem = ""
        self._pause_s = FIRST_PAUSE_S

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def stdin(self) -> int:
        return _fd(self._process.stdin if self._process else None)

    @property
    def stdout(self) -> int:
        return _fd(self._process.stdout if self._process else None)

    def start(self, command: list[str]) -> None:
        process = self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=settings.child_environment(**ENVIRONMENT),
        )
        if self._low_priority:
            priority.low(process.pid)
        os.set_blocking(self.stdin, False)
        self.opened, self.greeted, self.started = False, False, time.monotonic()

    def came_up(self) -> None:
        self.greeted, self.problem, self._pause_s, self.not_before = True, "", FIRST_PAUSE_S, 0.0
        if self._low_priority and self.pid is not None:
            priority.lowest(self.pid)

    def failed(self, problem: str) -> None:
        self.kill()
        self.problem = problem
        self.not_before = time.monotonic() + self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    def ending(self) -> str:
        """Return in words how the process ended, after it has closed its pipe."""
        if self._process is None:
            return "was ended"
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"

    def stop(self) -> None:
        """End the process and leave its pipes open, because another thread may be reading from them."""
        if (process := self._process) is not None:
            process.kill()

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _fd(pipe: Any) -> int:
    if pipe is None:
        raise OSError("the process was ended")
    return int(pipe.fileno())
