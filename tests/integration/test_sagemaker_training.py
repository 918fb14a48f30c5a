"""`trimtab train` in a training container of SageMaker: its folders in, a bundle out, and that bundle serves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
import pytest

from integration.test_container_contract import container, free_port
from kit.commands import typed
from kit.small_project import make_project

AS_OF = "2026-02-01"


def job(base: Path, **hyperparameters: str) -> Path:
    """Lay out a training job on the small project; its rows are a channel."""
    data = base / "input" / "data"
    project = make_project(data / "project")
    (data / "rows").mkdir()
    shutil.move(project / "rows.parquet", data / "rows" / "part-0.parquet")
    config = base / "input" / "config"
    config.mkdir()
    (config / "hyperparameters.json").write_text(json.dumps({"trimtab_as_of": AS_OF, **hyperparameters}))
    (config / "inputdataconfig.json").write_text(json.dumps({"rows": {"TrainingInputMode": "File"}}))
    return base


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TRIMTAB_CONTAINER", "sagemaker")
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "ml"))
    return tmp_path / "ml"


def test_a_job_trains_and_its_bundle_serves(base: Path) -> None:
    job(base, max_iter="5")
    done = typed("train")
    assert "trimtab_passed=1;" in done.stdout
    report = json.loads((base / "output" / "data" / "evaluation.json").read_text())
    assert report["verdict"] != "fail"
    assert (base / "output" / "data" / "gates.junit.xml").is_file()
    assert not (base / "output" / "failure").exists()
    assert not (base / "input" / "data" / "project" / ".trimtab").exists()
    port = free_port()
    asked = {"TRIMTAB_CONTAINER": "sagemaker", "SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_BASE_DIR": str(base)}
    (base.parent / "work" / "trimtab.yaml").write_text("project: p\n")  # the image holds a project, too
    with container(base.parent / "work", "/ping", port, **asked) as process:
        url = f"http://127.0.0.1:{port}/invocations"
        answer = httpx.post(url, content="20,30\n900,30\n", headers={"Content-Type": "text/csv"})
        low, high = map(float, answer.text.split())
        assert low < 0.5 < high
    assert process.returncode == 0


def test_a_gate_that_fails_fails_the_job_or_is_recorded(base: Path) -> None:
    job(base, trimtab_gates="record")
    policy = base / "input" / "data" / "project" / "trimtab.yaml"
    policy.write_text(policy.read_text().replace("min: 0.5", "min: 0.999"))
    assert "trimtab_passed=0;" in typed("train").stdout
    assert not (base / "model").exists()
    assert not (base / "output" / "failure").exists()
    (base / "input" / "config" / "hyperparameters.json").write_text(json.dumps({"trimtab_as_of": AS_OF}))
    assert typed("train", check=False).returncode == 1
    assert "accuracy" in (base / "output" / "failure").read_text()


def test_the_state_of_the_project_is_read_and_kept(base: Path) -> None:
    job(base)
    state = base / "input" / "data" / "trimtab"
    state.mkdir()
    assert "no champion" in typed("train").stdout
    assert (state / "metadata.db").is_file()


@pytest.mark.parametrize(
    ("channel", "files", "told"),
    [
        ("rowss", ("a.parquet",), "channel 'rowss': definitions.py has no such source. Did you mean 'rows'"),
        ("rows", ("a.parquet", "b.parquet"), "channel 'rows' has 2 files; FileSource 'rows' reads one"),
        ("rows", (), "channel 'rows': there is no file in"),
    ],
)
def test_channels_that_do_not_fit_are_told(base: Path, channel: str, files: tuple[str, ...], told: str) -> None:
    job(base)
    data = base / "input" / "data"
    source = (data / "rows" / "part-0.parquet").read_bytes()
    shutil.rmtree(data / "rows")
    (data / channel).mkdir()
    for name in files:
        (data / channel / name).write_bytes(source)
    done = typed("train", check=False)
    assert done.returncode == 1, done.stderr
    assert told in (base / "output" / "failure").read_text()
    assert told in done.stderr
