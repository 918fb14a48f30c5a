"""`python -m benchmarks.parity [--only TEXT] [--write]`: what serves each kind of estimator, and how far it is from it.

Each kind is fitted on real flights, packaged as a trainer's estimator is, and compared with itself on 1,000 other real
flights, of which three of four have a missing, infinite or unseen value. A row that the estimator refuses must be
refused. Exit code 1 when a kind that serves differs by more than 1e-5 (a probability, or another score in standard
deviations), unless the estimator itself differs when rows come one by one.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import numpy as np

from benchmarks.parity.kinds import Kind, kinds
from benchmarks.parity.real_rows import FEATURES, Array, Rows, read_rows
from trimtab.bundle.limits import InputCheck, answered, answers
from trimtab.errors import TrimtabError
from trimtab.training.forms import Form, choose
from trimtab.training.parity import TOLERANCE
from trimtab.training.scores import native_scores

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
NOISE = "the estimator itself differs"
"""Begins the reason of a difference that comes from float32 sums, which depend on the other rows of a call."""
WORDS = 150
"""Most characters of a reason in the table."""


class Line(NamedTuple):
    """One kind for one task. over: rows that the estimator scores and what serves refuses."""

    kind: str
    task: str
    runtime: str
    difference: float
    over: int
    words: str


def main() -> int:
    """Compare every kind; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity")
    parser.add_argument("--rows", type=int, default=1000, help="rows that are served")
    parser.add_argument("--only", default="", help="kinds whose name and task have this text")
    parser.add_argument("--write", action="store_true", help="write the table to docs/models.md")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    rows, began, lines = read_rows(asked.rows), time.process_time(), []
    for kind in kinds():
        if asked.only in f"{kind.name} {kind.task}":
            start = time.process_time()
            lines.append(measure(kind, rows))
            took = time.process_time() - start
            print("{:<34} {:<10} {:<10} {:>8.1e} {:>4}  {}".format(*lines[-1])[:200], f"({took:.1f} s)", flush=True)
    print(f"\n{summary(lines)}; {time.process_time() - began:.0f} s of one core")
    if asked.write:
        text = PAGE.read_text(encoding="utf-8")
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(f"{head}{BEGIN}\n{table(lines)}\n{END}{tail}", encoding="utf-8")
    return int(any(line.difference > TOLERANCE and not line.words.startswith(NOISE) for line in lines))


def measure(kind: Kind, rows: Rows) -> Line:
    """Fit, package and compare one kind."""
    try:
        estimator = kind.fit(kind.task, rows.X, rows.y[kind.task])
    except Exception as error:  # a border: estimators that take no single label, in words of their own
        return Line(kind.name, kind.task, "-", 0.0, 0, f"cannot be fitted on one label: {_first_line(error)}")
    try:
        form = choose(estimator, rows.X, task=kind.task, features=FEATURES, trust=["project"])
    except TrimtabError as error:
        return Line(kind.name, kind.task, "refused", 0.0, 0, str(error))
    classes = 3 if kind.task == "multiclass" else 0

    def native(X: Array) -> Array:
        return native_scores(estimator, X, kind.task, classes)

    expected = answers(native, rows.served)
    found = _served(form, rows.served, expected)
    taken = answered(expected) & answered(found)
    if taken.any():
        expected[taken] = native(rows.served[taken])  # in one call, as what serves: float32 sums depend on it
    form.scorer.close()
    scale: float | Array = 1.0
    if form.scorer.task in ("regression", "anomaly"):
        usual = native_scores(estimator, rows.X, kind.task)
        scale = np.maximum(np.abs(expected), np.nanstd(usual) or 1.0)
    both = np.isfinite(expected) & np.isfinite(found)
    difference = np.where(both, np.abs(found - expected) / scale, np.where(np.isfinite(found), np.inf, 0.0))
    over = np.isfinite(expected) & ~np.isfinite(found)
    worst, words = float(difference.max(initial=0.0)), form.reason
    if worst > TOLERANCE:
        words = _own_noise(native, rows.served, expected, difference, scale) + words
    return Line(kind.name, kind.task, form.runtime, worst, int(over.reshape(len(over), -1).any(axis=1).sum()), words)


def _own_noise(
    native: Callable[[Array], Array], X: Array, expected: Array, difference: Array, scale: float | Array
) -> str:
    """Say how much the estimator itself differs for the rows over the bar, when they come one by one."""
    far = np.flatnonzero(difference.reshape(len(difference), -1).max(axis=1) > TOLERANCE)
    alone = np.concatenate([native(X[row : row + 1]) for row in far])
    noise = float((np.abs(alone - expected[far]) / (scale if isinstance(scale, float) else scale[far])).max())
    return f"{NOISE} by {noise:.1e} when these {len(far)} rows come one by one. " if noise > TOLERANCE / 10 else ""


def _served(form: Form, X: Array, expected: Array) -> Array:
    """Return what the gateway would answer, in the shape of `expected`; NaN for rows that it refuses."""
    refused, whole = InputCheck(FEATURES, form.limits).refused_rows(X), np.full(expected.shape, np.nan)
    if not refused.all():
        whole[~refused] = form.scorer.score(X[~refused])
    return whole


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def summary(lines: list[Line]) -> str:
    """Return how many kinds each runtime serves, and the largest difference."""
    counts = Counter(line.runtime for line in lines)
    worst = max((line for line in lines if line.runtime not in ("-", "refused")), key=lambda line: line.difference)
    runtimes = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    names = len({line.kind for line in lines if line.runtime != "-"})
    return (
        f"{names} kinds, {len(lines)} lines with their tasks: {runtimes}; largest difference {worst.difference:.1e} "
        f"({worst.kind})"
    )


def table(lines: list[Line]) -> str:
    """Return the table in Markdown, below its summary."""
    head = "| Kind | Task | Served by | Difference | Refused in addition | Why |\n|---|---|---|---|---|---|"
    return "\n".join([f"{summary(lines)}.", "", head, *map(_row, lines)])


def _row(line: Line) -> str:
    words = line.words if len(line.words) <= WORDS else f"{line.words[:WORDS].rsplit(' ', 1)[0]} ..."
    words = words.replace("|", "/").replace("<", "").replace(">", "")
    served = line.runtime not in ("-", "refused")
    figures = f"{line.difference:.1e} | {line.over or ''}" if served else " | "
    return f"| {line.kind} | {line.task} | {line.runtime} | {figures} | {words} |"


if __name__ == "__main__":
    sys.exit(main())
