"""What is known to be missing is told before a verb begins, by doctor and by the verb, with exit code 2."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from trimtab.app.project import requirements
from trimtab.app.project.project import Project, open_project
from trimtab.app.project.requirements import missing_packages, require_packages, require_trainer
from trimtab.app.reports.doctor import Finding, examine
from trimtab.errors import DefinitionError, PolicyError
from trimtab.policy.environments import Environment

DEFINITIONS = """import trimtab as tt

rows = tt.FileSource("rows", "rows.parquet", timestamp="at", known_at="known")
model = tt.Model("model", task="binary", examples=rows, label="y", features=["x"])
"""
CHECKS = """import pandera.polars as pa


class Rows(pa.DataFrameModel):
    x: float
"""


def project(folder: Path, policy: str) -> Project:
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text("project: p\n" + policy)
    return open_project(folder)


def without(*names: str) -> Any:
    """Return a finder of packages that does not find some of them."""
    return lambda name: None if name in names else importlib.util.find_spec(name)


def test_a_schema_that_no_module_holds_is_refused_when_the_policy_is_read(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(CHECKS)
    project(tmp_path, "checks: { rows: checks.Rows }\n")
    with pytest.raises(PolicyError, match=r"trimtab.yaml:2: checks.rows: .*no schema 'Rovs'. Did you mean 'Rows'\?"):
        project(tmp_path, "checks: { rows: checks.Rovs }\n")
    with pytest.raises(PolicyError, match=r"trimtab.yaml:2: checks.rows: .*no check.py in the project. Did you mean"):
        project(tmp_path, "checks: { rows: check.Rows }\n")
    (tmp_path / "checks.py").write_text(CHECKS + "\nx = (\n")
    with pytest.raises(PolicyError, match=r"trimtab.yaml:2: checks.rows: .*checks.py:7: '\(' was never closed"):
        project(tmp_path, "checks: { rows: checks.Rows }\n")


def test_a_schema_that_is_made_elsewhere_is_believed(tmp_path: Path) -> None:
    for text in ("from shared import *\n", "from shared import Rows\n", "Rows = make()\n", "import shared as Rows\n"):
        (tmp_path / "checks.py").write_text(text)
        tables = project(tmp_path, "checks: { rows: checks.Rows }\n").policy.checks.tables
        assert tables["rows"].schema_ == "checks.Rows"


def test_a_model_without_a_trainer_is_named_with_its_line(tmp_path: Path) -> None:
    found = project(tmp_path, "")
    with pytest.raises(DefinitionError, match=rf"^{tmp_path}/definitions.py:4: model 'model' has no trainer; decorate"):
        require_trainer(found, found.definitions.model())


@pytest.mark.parametrize(
    ("policy", "module", "key", "extra"),
    [
        ("serving: { grpc_port: 0 }\n", "grpc", "serving.grpc_port", "grpc"),
        ("serving: { signed_by: key.pem }\n", "model_signing", "serving.signed_by", "signing"),
    ],
)
def test_a_key_that_needs_a_package_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, module: str, key: str, extra: str
) -> None:
    found = project(tmp_path, policy)
    require_packages(found, Environment())
    monkeypatch.setattr(requirements, "find_spec", without(module))
    with pytest.raises(PolicyError, match=rf"trimtab.yaml:2: {key}: .*pip install 'trimtab\[{extra}\]'"):
        require_packages(found, Environment())


def test_a_log_in_kafka_and_a_port_on_the_command_line_need_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = project(tmp_path, "")
    monkeypatch.setattr(requirements, "find_spec", without("confluent_kafka", "grpc"))
    assert list(missing_packages(found, Environment())) == []
    kafka = Environment(predictions="kafka://localhost:9092/log")
    assert ["kafka" in line for line in missing_packages(found, kafka)] == [True]
    assert ["grpc" in line for line in missing_packages(found, Environment(), grpc_port=0)] == [True]


def test_doctor_tells_what_verbs_would_find_later(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text("Rows = 3\n")
    project(tmp_path, "checks: { rows: checks.Rows }\n")
    failed = {finding.subject: finding for finding in examine(tmp_path, "local") if finding.verdict == "fail"}
    assert "expected a pandera.polars DataFrameSchema" in failed["checks rows"].text
    assert "has no trainer" in failed["trainer model"].text
    assert failed["checks rows"].wrong
    assert failed["trainer model"].wrong


def test_doctor_names_the_separator_of_the_first_file_or_that_it_cannot_be_read(tmp_path: Path) -> None:
    project(tmp_path, "")
    definitions = tmp_path / "definitions.py"
    definitions.write_text(DEFINITIONS.replace("rows.parquet", "rows.csv"))

    def model() -> Finding:
        return next(one for one in examine(tmp_path, "local") if one.subject == "model model")

    (tmp_path / "rows.csv").write_text("at;known;x;y\n2024-01-01;2024-01-02;1;0\n")
    found = model()
    assert (found.verdict, found.wrong) == ("fail", True)
    assert found.remedy.endswith("its first line has ';' 3 times: FileSource(..., separator=';')")
    (tmp_path / "rows.csv").write_bytes(b"")
    found = model()
    assert (found.verdict, found.wrong, found.remedy) == ("fail", False, "")
    assert "rows.csv: not a CSV file" in found.text
