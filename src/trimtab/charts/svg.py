"""Draws charts as SVG or PNG in a child process, which gives back the 100 MB that the drawing library takes.

The child draws one chart after the other and ends when none came for IDLE_S: its start takes longer than a drawing.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, Literal

from trimtab.charts.theme import Spec
from trimtab.errors import MissingExtra, StageError

EXTRA = "console"
TIMEOUT_S = 120.0
IDLE_S = 30.0
CLIP = re.compile(r'((?:id="|url\(#)clip)(\d+)')
"""The library counts these ids on from chart to chart; each call counts them from 1, so the same charts are the same
text."""
PROGRAM = """
import json, sys
import vl_convert
for line in sys.stdin:
    kind, spec = json.loads(line)
    try:
        if kind == "svg":
            drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        else:
            drawn = vl_convert.vegalite_to_png(spec, scale=2, allowed_base_urls=[]).hex()
        print(json.dumps([drawn, ""]), flush=True)
    except Exception as error:
        print(json.dumps(["", (str(error).strip().splitlines() or [type(error).__name__])[-1]]), flush=True)
"""


def need_charts() -> None:
    """Raise MissingExtra when the library that draws is not installed."""
    if importlib.util.find_spec("vl_convert") is None:
        raise MissingExtra("vl-convert-python", EXTRA)


def draw_svg(charts: Sequence[Spec]) -> list[str]:
    """Return each chart as SVG text. Ids are unique among the charts of one call, so that a page may hold them all.

    Raises:
        MissingExtra: the extra `console` is not installed.
        StageError: a chart cannot be drawn.
    """
    numbers: dict[str, int] = {}

    def again(found: re.Match[str]) -> str:
        return f"{found[1]}{numbers.setdefault(found[2], len(numbers) + 1)}"

    return [CLIP.sub(again, drawn) for drawn in _draw("svg", charts)]


def draw_png(charts: Sequence[Spec]) -> list[bytes]:
    """Return each chart as a PNG of twice its size. A palette of CSS variables cannot be drawn: pass LIGHT or DARK.

    Raises as `draw_svg`.
    """
    return [bytes.fromhex(drawn) for drawn in _draw("png", charts)]


def run_child(program: str, text: str = "") -> str:
    """Run a Python program with the drawing library in a child process, and return what it prints."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", program], input=text, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise _late() from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise StageError(f"a chart cannot be drawn: {lines[-1]}")
    return done.stdout


class _Drawer:
    """The child process. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None
        self._idle: threading.Timer | None = None

    def draw(self, kind: str, chart: Spec) -> str:
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            try:
                return self._ask(kind, chart)
            finally:
                self._idle = _timer(IDLE_S, self)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _ask(self, kind: str, chart: Spec) -> str:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # as long as the child
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(TIMEOUT_S, process.kill)
        late.daemon = True
        late.start()
        try:
            process.stdin.write(json.dumps([kind, chart]) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        was_late = not late.is_alive()
        late.cancel()
        if not line:
            why = self._end()
            raise _late() if was_late else StageError(f"a chart cannot be drawn: {why}")
        drawn, error = json.loads(line)
        if error:
            raise StageError(f"a chart cannot be drawn: {error}")
        return str(drawn)

    def _end(self) -> str:
        """End the child and return the last line of its errors, or its exit code."""
        process, self._process = self._process, None
        errors, self._errors = self._errors, None
        if process is None or errors is None:
            return ""
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        errors.seek(0)
        lines = errors.read().strip().splitlines()
        errors.close()
        return lines[-1] if lines else f"exit code {process.returncode}"


def _draw(kind: Literal["svg", "png"], charts: Sequence[Spec]) -> list[str]:
    need_charts()
    return [_DRAWER.draw(kind, chart) for chart in charts]


def _timer(seconds: float, drawer: _Drawer) -> threading.Timer:
    timer = threading.Timer(seconds, drawer.close)
    timer.daemon = True
    timer.start()
    return timer


def _late() -> StageError:
    return StageError(f"drawing took longer than {TIMEOUT_S:g} s and was stopped")


_DRAWER = _Drawer()
atexit.register(_DRAWER.close)
