"""What SageMaker's files ask for: read as they are, and refused with the file and the key where they cannot be."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from trimtab.app.delivery.sagemaker_training import FAILURE_BYTES, is_training, metric_lines, read_job, write_failure
from trimtab.errors import UsageError


def config(base: Path, **files: Any) -> Path:
    folder = base / "input" / "config"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return base


def test_hyperparameters_are_values_and_channels_are_sources(tmp_path: Path) -> None:
    given = {"max_iter": "8", "loss": "log_loss", "early": "true", "sagemaker_region": '"eu"', "trimtab_model": "risk"}
    base = config(
        tmp_path,
        hyperparameters={**given, "trimtab_as_of": "2026-02-01", "trimtab_gates": "record"},
        inputdataconfig={"rows": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}},
        resourceconfig={"current_host": "algo-1", "hosts": ["algo-1"]},
    )
    for name in ("rows", "project", "trimtab"):
        (base / "input" / "data" / name).mkdir(parents=True)
    (base / "input" / "data" / "rows-manifest").write_text("[]")
    job = read_job(base)
    assert job.training.params == {"max_iter": 8, "loss": "log_loss", "early": True}
    assert job.training.channels == {"rows": base / "input" / "data" / "rows"}
    assert (job.training.model, job.training.as_of) == ("risk", datetime(2026, 2, 1, tzinfo=UTC))
    assert job.training.state == base / "input" / "data" / "trimtab"
    assert (job.project, job.refuse) == (base / "input" / "data" / "project", False)
    assert is_training(base)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"hyperparameters": "{"}, "hyperparameters.json: "),
        ({"hyperparameters": {"max_iter": 8}}, "hyperparameters.json: Expected `str`"),
        ({"hyperparameters": {"trimtab_modle": "risk"}}, "'trimtab_modle' is not known. Did you mean 'trimtab_model'"),
        ({"hyperparameters": {"trimtab_gates": "skip"}}, "trimtab_gates is 'skip'. Valid: record, refuse"),
        ({"hyperparameters": {"trimtab_as_of": "soon"}}, "trimtab_as_of: 'soon' is no time"),
        ({"inputdataconfig": {"rows": {"TrainingInputMode": "Pipe"}}}, "channel 'rows' is of mode Pipe"),
        ({"resourceconfig": {"hosts": ["algo-1", "algo-2"]}}, "2 hosts; expected 1"),
    ],
)
def test_what_cannot_be_trained_from_is_told(tmp_path: Path, files: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_job(config(tmp_path, **files))


def test_a_failure_is_cut_to_what_is_shown(tmp_path: Path) -> None:
    write_failure(tmp_path, "ü" * FAILURE_BYTES)
    assert (tmp_path / "output" / "failure").read_text() == "ü" * (FAILURE_BYTES // 2)


def test_metrics_are_lines_that_regular_expressions_read() -> None:
    assert metric_lines({"roc_auc": 0.7123456789}, passed=True) == ["trimtab_roc_auc=0.712346;", "trimtab_passed=1;"]
