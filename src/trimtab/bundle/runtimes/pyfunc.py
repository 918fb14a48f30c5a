"""MLflow models that must be unpickled, each in a process of its own. Opened by bundle.scorer when it is trusted.

The process is killed when it does not answer in time, and started again when it has died; the caller's own memory
holds no more than the rows on their way. Closing the pipe, or the end of the caller, ends it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from trimtab import settings
from trimtab.bundle.runtimes import frames
from trimtab.bundle.scorer import TIMEOUT_S, Opener, Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.errors import DataError, Temporary, TrimtabError

WORKER = "trimtab.bundle.runtimes.pyfunc_worker"
START_TIMEOUT_S = 120.0
"""MLflow and what the model needs take seconds to import, and some models are large."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Pauses between starts of a process that does not come up."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}

logger = logging.getLogger(__name__)


class PyfuncFailed(TrimtabError, Temporary):
    """The model's process failed, or did not answer in time; it is started again."""


class PyfuncScorer:
    """An MLflow model in a process of its own. Raises DataError when it cannot be loaded.

    task: what its scores are; None takes what the model says of itself. timeout_s: longest wait for an answer.
    """

    in_process = False

    def __init__(self, folder: Path, task: Task | None, *, timeout_s: float = TIMEOUT_S) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._handle = _Handle()
        self._closed = False
        weakref.finalize(self, self._handle.kill)
        self._launch()
        self.told = self._greeted(time.monotonic() + START_TIMEOUT_S)
        """The task that the model says it has; None when it does not say."""
        if task is not None and self.told not in (None, task):
            self.close()
            raise DataError(f"{folder}: the model's task is {self.told}, not {task}; describe the folder again")
        self.task: Task = task or self.told or "regression"

    @property
    def pid(self) -> int | None:
        """The process that runs the model now."""
        return self._handle.pid

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one score a row. Raises PyfuncFailed when the process failed, DataError when the model did."""
        if not len(X):
            return np.empty(0)
        frame = frames.pack_rows(X)
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            kind, content = self._exchange(frame, deadline)
        if kind == frames.ERROR:
            raise DataError(f"{self._folder.name}: {content.decode(errors='replace')}")
        scores = np.frombuffer(content, dtype="<f8").astype(np.float64)
        if kind != frames.SCORES or scores.shape != (len(X),):
            raise DataError(f"{self._folder.name}: the model gave {scores.size} numbers for {len(X)} rows")
        return scores

    def close(self) -> None:
        """End the process; a score under way fails."""
        self._closed = True
        self._handle.stop()
        with self._lock:
            self._handle.kill()

    def _exchange(self, frame: bytes, deadline: float) -> tuple[bytes, bytes]:
        if not self._handle.alive:
            self._launch()
        if not self._handle.greeted:
            self._greeted(deadline)
        try:
            frames.write(self._handle.stdin, frame, deadline=deadline)
            return frames.read(self._handle.stdout, deadline=deadline)
        except frames.Late:
            self._launch()
            raise PyfuncFailed(
                f"{self._folder.name}: the model did not answer within {self._timeout_s:g} s; its process was killed "
                "and is started again"
            ) from None
        except (frames.Gone, OSError):
            ended = self._handle.ending()
            self._launch()
            raise PyfuncFailed(
                f"{self._folder.name}: the model's process {ended} while it scored; it is started again"
            ) from None

    def _launch(self) -> None:
        """Start the process, unless it failed to come up a moment ago."""
        handle, now = self._handle, time.monotonic()
        handle.kill()
        if self._closed:
            raise PyfuncFailed(f"{self._folder.name}: the model was closed")
        if now < handle.not_before:
            raise PyfuncFailed(
                f"{self._folder.name}: the model's process does not come up ({handle.problem}); it is tried again in "
                f"{handle.not_before - now:.0f} s"
            )
        handle.start([sys.executable, "-P", "-m", WORKER, str(self._folder.absolute())])

    def _greeted(self, deadline: float) -> Task | None:
        """Wait until the process has loaded the model; return the task that it names."""
        handle = self._handle
        try:
            kind, content = frames.read(handle.stdout, deadline=deadline)
        except frames.Late:
            if time.monotonic() - handle.started < START_TIMEOUT_S:
                raise PyfuncFailed(f"{self._folder.name}: the model is still being loaded") from None
            handle.failed(f"it was not loaded within {START_TIMEOUT_S:g} s")
            raise DataError(f"{self._folder}: the model {handle.problem}") from None
        except (frames.Gone, OSError):
            handle.failed(f"its process {handle.ending()} while it was loaded")
            raise DataError(f"{self._folder}: the model cannot be loaded: {handle.problem}") from None
        text = content.decode(errors="replace")
        if kind != frames.HELLO:
            handle.failed(text)
            raise DataError(f"{self._folder}: the model cannot be loaded: {text}")
        handle.came_up()
        return "binary" if text == "binary" else "regression" if text == "regression" else None


class _Handle:
    """The process of now and the history of its starts; apart from the scorer, so that it outlives it to be killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
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
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=settings.child_environment(**ENVIRONMENT),
        )
        os.set_blocking(self.stdin, False)
        self.greeted, self.started = False, time.monotonic()

    def came_up(self) -> None:
        self.greeted, self.problem, self._pause_s, self.not_before = True, "", FIRST_PAUSE_S, 0.0

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


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Start the process of a folder's model. Raises DataError."""
    return PyfuncScorer(path, task, timeout_s=options.timeout_s)


_: Opener = open_model
