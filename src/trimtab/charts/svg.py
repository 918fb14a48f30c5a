"""Draws charts as SVG or PNG in a child process, which gives back the 100 MB that the drawing library takes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

from trimtab.charts.theme import Spec
from trimtab.errors import MissingExtra, StageError

EXTRA = "console"
TIMEOUT_S = 120.0
PROGRAM = """
import json, sys
import vl_convert
kind, specs = json.load(sys.stdin)
for spec in specs:
    if kind == "svg":
        print(json.dumps(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])), flush=True)
    else:
        print(json.dumps(vl_convert.vegalite_to_png(spec, scale=2, allowed_base_urls=[]).hex()), flush=True)
"""


def need_charts() -> None:
    """Raise MissingExtra when the library that draws is not installed."""
    if importlib.util.find_spec("vl_convert") is None:
        raise MissingExtra("vl-convert-python", EXTRA)


def draw_svg(charts: Sequence[Spec]) -> list[str]:
    """Return each chart as SVG text. One child process draws all of them.

    Raises:
        MissingExtra: the extra `console` is not installed.
        StageError: a chart cannot be drawn.
    """
    return [str(drawn) for drawn in _draw("svg", charts)]


def draw_png(charts: Sequence[Spec]) -> list[bytes]:
    """Return each chart as a PNG of twice its size. A palette of CSS variables cannot be drawn: pass LIGHT or DARK.

    Raises as `draw_svg`.
    """
    return [bytes.fromhex(str(drawn)) for drawn in _draw("png", charts)]


def _draw(kind: Literal["svg", "png"], charts: Sequence[Spec]) -> list[object]:
    need_charts()
    if not charts:
        return []
    out = run_child(PROGRAM, json.dumps([kind, list(charts)]))
    drawn = [json.loads(line) for line in out.splitlines()]
    if len(drawn) != len(charts):
        raise StageError(f"{len(drawn)} of {len(charts)} charts were drawn")
    return drawn


def run_child(program: str, text: str = "") -> str:
    """Run a Python program with the drawing library in a child process, and return what it prints."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", program], input=text, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise StageError(f"drawing took longer than {TIMEOUT_S:g} s and was stopped") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise StageError(f"a chart cannot be drawn: {lines[-1]}")
    return done.stdout
