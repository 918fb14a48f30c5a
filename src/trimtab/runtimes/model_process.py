"""A process that scores with one model, and how it is asked. Used by pyfunc and aside, whose programs run in it.

The process is killed when it does not answer in time, and started again when it has died; the caller's own memory
holds no more than the rows on their way. Closing the pipe, or the end of the caller, ends it.
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
from typing import Any

import numpy as np

from trimtab import settings
from trimtab.bundle.scorer import TIMEOUT_S
from trimtab.errors import DataError, Temporary, TrimtabError
from trimtab.runtimes import pipe_frames, priority

START_TIMEOUT_S = 120.0
"""What a model needs may take seconds to import, and some models are large."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Pauses between starts of a process that does not come up."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}


class ProcessFailed(TrimtabError, Temporary):
    """The model's process failed, or did not answer in time; it is started again."""


class ModelProcess:
    """A process that runs `program` (a module) for a folder's model. It is started at once; `greeting` waits for it.

    arguments: of the program. opening: what it is sent before it says hello. timeout_s: longest wait for an answer.
    aside: it runs only when nobody else wants the processor. Safe to share between threads.
    Raises ProcessFailed when the system starts no process.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        arguments: Sequence[str] = (),
        opening: bytes = b"",
        timeout_s: float = TIMEOUT_S,
        aside: bool = False,
    ) -> None:
        self.folder = folder
        self._command = [sys.executable, "-P", "-m", program, *arguments]
        self._opening = opening
        self._timeout_s = timeout_s
        self._aside = aside
        self._lock = threading.Lock()
        self._handle = _Handle(aside=aside)
        self.closed = False
        weakref.finalize(self, self._handle.kill)
        self._launch()

    @property
    def pid(self) -> int | None:
        """The process that runs the model now."""
        return self._handle.pid

    def greeting(self) -> str:
        """Return what the process says when it has loaded the model. Raises DataError when it does not come up."""
        with self._lock:
            return self._greeted(time.monotonic() + START_TIMEOUT_S)

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one score a row. Raises ProcessFailed when the process failed, DataError when the model did."""
        if not len(X):
            return np.empty(0)
        frame = pipe_frames.pack_rows(X)
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            kind, content = self._exchange(frame, deadline)
        if kind == pipe_frames.ERROR:
            raise DataError(f"{self.folder.name}: {content.decode(errors='replace')}")
        scores = np.frombuffer(content, dtype="<f8").astype(np.float64)
        if kind != pipe_frames.SCORES or scores.shape != (len(X),):
            raise DataError(f"{self.folder.name}: the model gave {scores.size} numbers for {len(X)} rows")
        return scores

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
            if self._aside:  # whoever asks next does not wait as long for nothing
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
        """Start the process, unless it failed to come up a moment ago."""
        handle, now = self._handle, time.monotonic()
        handle.kill()
        if self.closed:
            raise ProcessFailed(f"{self.folder.name}: the model was closed")
        if now < handle.not_before:
            raise ProcessFailed(
                f"{self.folder.name}: the model's process does not come up ({handle.problem}); it is tried again in "
                f"{handle.not_before - now:.0f} s"
            )
        try:
            handle.start(self._command)
        except OSError as error:  # no memory, or too many processes
            handle.failed(f"it cannot be started: {error}")
            raise ProcessFailed(f"{self.folder.name}: the model's process cannot be started: {error}") from error

    def _greeted(self, deadline: float) -> str:
        """Wait until the process has loaded the model; return what it says of it."""
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
    """The process of now and the history of its starts; apart from the scorer, so that it outlives it to be killed."""

    def __init__(self, *, aside: bool) -> None:
        self._aside = aside
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
        if self._aside:
            priority.low(process.pid)
        os.set_blocking(self.stdin, False)
        self.opened, self.greeted, self.started = False, False, time.monotonic()

    def came_up(self) -> None:
        self.greeted, self.problem, self._pause_s, self.not_before = True, "", FIRST_PAUSE_S, 0.0
        if self._aside and self.pid is not None:
            priority.lowest(self.pid)

    def failed(self, problem: str) -> None:
        self.kill()
        self.problem = problem
        self.not_before = time.monotonic() + self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    def ending(self) -> str:
        """Say how the process, which has closed its pipe, ended."""
        if self._process is None:
            return "was ended"
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"

    def stop(self) -> None:
        """End the process and leave its pipes open, for whoever waits at them."""
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
