"""Makes a run again and says what differs: environment, code, data set, model files, metrics, predictions."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from trimtab import settings
from trimtab.app.project.child_processes import REPRODUCING
from trimtab.app.project.workspace import Workspace
from trimtab.app.runs.checkout import Checkout, checkout
from trimtab.app.runs.model_files import FileResult, compare_models
from trimtab.app.runs.pinned_environment import changed_pins, differing_pins, make_environment
from trimtab.app.runs.reproducing import Order, Remade, Result, holdout_scores
from trimtab.errors import StageError, UsageError
from trimtab.records.training import DatasetVersion, Run
from trimtab.training.dataset import load
from trimtab.units import plural

MOST_PINS = 8
SHOWN_LINES = 8
RESULTS = ("model", "metrics", "predictions")
"""The parts that must not differ."""
Verdict = Literal["same", "different", "unknown"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a run that was made again."""

    name: str
    verdict: Verdict
    text: str


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A package of the run that was another version when it was made again; `used` None: it was not there."""

    name: str
    recorded: str
    used: str | None


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """What making a run again gave."""

    run: str
    identical: bool
    """Whether model, metrics and predictions are the same."""
    parts: tuple[Part, ...]
    pins: tuple[Pin, ...]
    files: tuple[FileResult, ...]


def reproduce(
    workspace: Workspace,
    run: Run,
    *,
    here: bool = False,
    offline: bool = False,
    changes: Sequence[str] = (),
    tell: Callable[[str], object] = lambda text: None,
) -> Reproduction:
    """Train a run again in its environment, on its code and its data set, and compare.

    Args:
        workspace: the project that has the run.
        run: its record.
        here: train in this environment, whatever its packages are.
        offline: make the environment without a package index.
        changes: pins to set to another version, NAME==VERSION each.
        tell: shows what is being done.

    Raises:
        StageError: the environment or the code cannot be made again, or the training failed.
        UsageError: a change names no package of the run, or the run trained nothing.
        NotFound: the store does not have the packaged model or the data set any more.
    """
    if run.purpose != "train":
        raise UsageError(
            f"run {run.id} is the evaluation of a prompt, and trained nothing; to ask again: "
            f"trimtab eval {run.model} --no-cache"
        )
    cache = settings.read().cache
    kept = workspace.artifacts.open(run.staging)
    recorded = run.pins or tuple((kept / "environment.txt").read_text(encoding="utf-8").split())
    with checkout(workspace, run, cache) as code:
        if here:
            python = Path(sys.executable)
        else:
            pins = changed_pins(recorded, changes)
            tell(f"environment of {plural(len(pins), 'package')}")
            python = make_environment(pins, run.python, cache=cache, offline=offline)
        tell("training")
        result = _train(workspace, run, code, python)
        assert result.run is not None
        made = Path(result.folder)
        files = compare_models(kept, made)
        differ = tuple(Pin(name=n, recorded=r, used=u) for n, r, u in differing_pins(recorded, result.packages))
        parts = [
            _environment(run, result, recorded, differ),
            Part(name="code", verdict="same", text=code.told),
            _dataset(result.dataset),
            Part(name="parameters", verdict="same", text=f"seed {run.seed}, {_params(run)}"),
            _files(files),
            _metrics(run, result.run),
            _predictions(workspace, run, kept, result.scores),
        ]
        identical = all(part.verdict != "different" for part in parts if part.name in RESULTS)
        if result.again and not identical:
            parts.append(_determinism(made, Path(result.again)))
    return Reproduction(run=run.id, identical=identical, parts=tuple(parts), pins=differ, files=tuple(files))


def _train(workspace: Workspace, run: Run, code: Checkout, python: Path) -> Result:
    """Train in a process of the given Python."""
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        order = Order(
            folder=str(code.folder),
            origin=str(workspace.project.folder),
            environment=workspace.environment.model_dump_json(),
            run=run.id,
            result=f"{folder}/result.json",
        )
        done = subprocess.run(
            [python, *REPRODUCING],
            input=msgspec.json.encode(order),
            capture_output=True,
            cwd=code.folder,
            env=settings.child_environment(PYTHONPATH="", PYTHONNOUSERSITE="1"),
            check=False,
        )
        try:
            result = msgspec.json.decode(Path(order.result).read_bytes(), type=Result)
        except FileNotFoundError:
            said = "\n".join(f"  {line}" for line in done.stderr.decode().strip().splitlines()[-SHOWN_LINES:])
            raise StageError(
                f"the training of run {run.id} ended with exit code {done.returncode} and without a result:\n{said}"
            ) from None
    if result.error:
        text = result.error.replace(f"{code.folder}/", "")
        raise StageError(f"run {run.id} could not be trained again: {text}")
    return result


def _params(run: Run) -> str:
    return ", ".join(f"{name} {value}" for name, value in run.params.items()) or "no parameters"


def _environment(run: Run, result: Result, recorded: Sequence[str], pins: Sequence[Pin]) -> Part:
    """Compare Python and packages of the run with those that trained now."""
    texts = [f"{pin.name} {pin.used or 'not installed'} instead of {pin.recorded}" for pin in pins[:MOST_PINS]]
    if len(pins) > MOST_PINS:
        texts.append(f"{len(pins) - MOST_PINS} other packages")
    if run.python and run.python != result.python:
        texts.insert(0, f"Python {result.python} instead of {run.python}")
    if texts:
        return Part(name="environment", verdict="different", text=", ".join(texts))
    said = f"Python {result.python}, {plural(len(recorded), 'package')}"
    if not run.pins:
        return Part(
            name="environment", verdict="unknown", text=f"{said}; the run names no pins, all packages were taken"
        )
    return Part(name="environment", verdict="same", text=said)


def _dataset(remade: Remade | None) -> Part:
    assert remade is not None
    verdicts: dict[bool | None, Verdict] = {True: "same", False: "different", None: "unknown"}
    return Part(name="data set", verdict=verdicts[remade.same], text=remade.text)


def _files(files: Sequence[FileResult]) -> Part:
    if different := [file.name for file in files if file.verdict == "different"]:
        text = f"{len(different)} of {plural(len(files), 'file')}: {', '.join(different)}"
        return Part(name="model", verdict="different", text=text)
    forms = sum(file.verdict == "same canonical form" for file in files)
    text = f"{plural(len(files), 'file')}, byte by byte"
    if forms:
        text = f"{plural(len(files) - forms, 'file')} byte by byte, {forms} in canonical form"
    return Part(name="model", verdict="same", text=text)


def _metrics(recorded: Run, made: Run) -> Part:
    if recorded.refit_of is not None:
        text = f"those of the judged run, which is made again by: trimtab reproduce {recorded.refit_of[:8]}"
        return Part(name="metrics", verdict="unknown", text=text)
    names = sorted(recorded.metrics.keys() | made.metrics.keys())
    pairs = {name: (recorded.metrics.get(name), made.metrics.get(name)) for name in names}
    differ = [f"{name} {_figure(b)} instead of {_figure(a)}" for name, (a, b) in pairs.items() if a != b]
    if differ:
        return Part(name="metrics", verdict="different", text=", ".join(differ))
    said = ", ".join(f"{name} {value:.6g}" for name, value in recorded.metrics.items())
    return Part(name="metrics", verdict="same", text=said)


def _figure(value: float | None) -> str:
    return "missing" if value is None else f"{value:.8g}"


def _predictions(workspace: Workspace, run: Run, kept: Path, made: str) -> Part:
    """Compare the scores of the holdout: of the recorded model here, of the new one in its environment."""
    dataset = workspace.metadata.get(DatasetVersion, run.dataset)
    old = holdout_scores(workspace, kept, load(dataset, workspace.artifacts))
    new = np.load(made, allow_pickle=False)
    if old.shape != new.shape:
        text = f"scores of the shape {new.shape} instead of {old.shape}"
        return Part(name="predictions", verdict="different", text=text)
    differ = (old != new) & ~(np.isnan(old) & np.isnan(new))
    rows = differ.reshape(len(old), -1).any(axis=1)
    if not rows.any():
        return Part(name="predictions", verdict="same", text=f"{len(old):,} rows of the holdout")
    with np.errstate(invalid="ignore"):
        gap = np.abs(old - new)[differ]
    text = f"{np.count_nonzero(rows):,} of {len(old):,} rows of the holdout differ, by up to {np.nanmax(gap):.3g}"
    return Part(name="predictions", verdict="different", text=text)


def _determinism(first: Path, second: Path) -> Part:
    """Compare two trainings in one environment: a difference between them is the trainer's own."""
    differ = [file for file in compare_models(first, second) if file.verdict == "different"]
    if not differ:
        text = "two trainings in this environment give the same model, so the difference lies outside the trainer"
        return Part(name="trainer", verdict="same", text=text)
    parts = "; ".join(f"{file.name}: {file.text}" for file in differ)
    text = f"not deterministic: two trainings with one seed in this environment differ: {parts}"
    return Part(name="trainer", verdict="different", text=text)
