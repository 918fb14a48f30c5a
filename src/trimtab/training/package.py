"""Writes the files of a bundle, whose format `trimtab.bundle` defines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import polars as pl

from trimtab.bundle.calibration import Calibration, calibrate
from trimtab.bundle.manifest import write_manifest
from trimtab.bundle.origin import CODE, code_files
from trimtab.bundle.spec import BACKGROUND, ColumnCheck, Limits, Spec, write_spec
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.bundle.typed_packing import TYPED, pack_rows
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import DataError, StageError
from trimtab.records.training import DatasetVersion
from trimtab.tasks import RULES
from trimtab.training.environment import Environment
from trimtab.training.forms import Form
from trimtab.training.mlflow_files import needed_modules, write_description

REFERENCE_ROWS = 1000
BACKGROUND_ROWS = 100
"""Background rows of explanations; the cost of an explanation is proportional to it."""
SCORE = "score"
CHANGES = "changes.patch"
"""In the folder `code`: the uncommitted changes of the project, as git applies them."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The content from which the files of a bundle are written.

    scores: of the holdout, by the form that serves, as `trimtab.tasks` says. threshold: score from which a binary model
    decides for class 1, and a row counts as an anomaly. request_types: kind of each request column. checks: of request
    columns. extra: further files, content by relative path.
    """

    model: Model
    run: str
    version: DatasetVersion
    form: Form
    holdout: Dataset
    scores: np.ndarray[Any, Any]
    threshold: float
    project: Path
    environment: Environment
    extra: Mapping[str, bytes]
    request_types: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, ColumnCheck] = field(default_factory=dict)
    objective: str = ""
    """Loss that a regression has minimised."""
    calibration: Calibration | None = None
    """Of prediction intervals; None makes it from the scores, which must then be of rows that the model did not see."""


def package(folder: Path, contents: Contents) -> None:
    """Write all files except the gates' report and the manifest. Raises StageError, DataError."""
    spec = _spec(contents)
    for name, content in contents.form.files.items():
        (folder / name).write_bytes(content)
    write_spec(folder, spec)
    write_description(folder, spec)
    _write_reference(folder, contents)
    environment = contents.environment
    (folder / "requirements.txt").write_text(environment.requirements(needed_modules(folder, spec)), encoding="utf-8")
    (folder / "environment.txt").write_text(environment.listing, encoding="utf-8")
    (folder / CODE).mkdir()
    for path in code_files(contents.project):
        (folder / CODE / path.name).write_bytes(path.read_bytes())
    if environment.changes:
        (folder / CODE / CHANGES).write_bytes(environment.patch)
    for name, content in contents.extra.items():
        _write_extra(folder, name, content)


def finish(folder: Path, report: bytes) -> str:
    """Complete a bundle after the gates.

    Args:
        folder: the folder of the bundle.
        report: the gates' report, JSON.

    Returns:
        The digest of the bundle.
    """
    (folder / "gate_report.json").write_bytes(report)
    return write_manifest(folder)


def _spec(contents: Contents) -> Spec:
    model, version = contents.model, contents.version
    return Spec(
        model=model.name,
        task=model.task,
        label=model.label or "",
        features=version.features,
        request_columns=model.request_columns,
        entity_keys=model.entity_keys,
        timestamp=model.examples.timestamp,
        classes=version.classes,
        threshold=contents.threshold,
        objective=contents.objective,
        run=contents.run,
        dataset=version.id,
        views=version.views,
        code_hash=version.code_hash,
        runtime=contents.form.runtime,
        model_file=contents.form.model_file,
        runtime_reason=contents.form.reason,
        request_types=dict(contents.request_types),
        limits=_limits(contents),
        checks=dict(contents.checks),
        calibration=contents.calibration or _calibration(contents),
        feature_types=dict(version.feature_types),
        feature_categories=dict(version.feature_categories),
        input=model.input,
        unseen=model.unseen,
    )


def _limits(contents: Contents) -> Limits:
    """Return the limits of the form; categories that are not known are among them where the model refuses them."""
    limits, version = contents.form.limits, contents.version
    if version.unseen != "refuse":
        return limits
    known = {name: tuple(map(float, range(len(names)))) for name, names in version.feature_categories.items()}
    return msgspec.structs.replace(limits, categories={**limits.categories, **known})


def _calibration(contents: Contents) -> Calibration | None:
    return calibrate(contents.holdout.y, contents.scores) if RULES[contents.model.task].output == "value" else None


def _write_reference(folder: Path, contents: Contents) -> None:
    if SCORE in contents.version.features:
        raise StageError(f"model '{contents.model.name}' has a feature called '{SCORE}'; rename it")
    chosen = _spread(len(contents.scores), REFERENCE_ROWS)
    rows = contents.holdout.X[chosen]
    columns: dict[str, Any] = {name: rows[:, j] for j, name in enumerate(contents.version.features)}
    if isinstance(rows, TypedMatrix):
        columns[TYPED] = pack_rows(rows)
    target = folder / "reference" / "rows.parquet"
    target.parent.mkdir(exist_ok=True)
    pl.DataFrame({**columns, SCORE: RULES[contents.model.task].main_score(contents.scores[chosen])}).write_parquet(
        target
    )
    background = contents.holdout.X[_spread(len(contents.scores), BACKGROUND_ROWS)]
    np.save(folder / BACKGROUND, np.asarray(background, dtype=np.float32), allow_pickle=False)


def _spread(count: int, wanted: int) -> np.ndarray[Any, Any]:
    """Return up to `wanted` indices below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))


def _write_extra(folder: Path, name: str, content: bytes) -> None:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise DataError(f"'{name}' leads outside the bundle")
    target = folder / inside
    if target.exists():
        raise DataError(f"'{name}' is in the bundle already")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
