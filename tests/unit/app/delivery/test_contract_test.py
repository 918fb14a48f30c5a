"""The contract test on projects that are broken in one place: the check that says so, and what is skipped for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.contract_projects import break_trainer, change, make_loans
from trimtab.app.delivery.contract_test import test_contract as run_contract
from trimtab.app.delivery.outcomes import Checks, Outcome, exit_code


def outcomes(folder: Path) -> dict[str, Outcome]:
    """Run the contract test; return each outcome by `group: check`."""
    checks = Checks(lambda outcome: None)
    run_contract(folder, "local", checks, rows=150)
    return {f"{each.group}: {each.check}": each for each in checks.outcomes}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_loans(tmp_path / "project")


def test_a_feature_that_holds_the_outcome_is_caught(project: Path) -> None:
    change(project, 'features=[past, size, "age"]', 'features=[past, size, "age", "lost"]')
    break_trainer(project, "risk", "raise ValueError")
    break_trainer(project, "loss", "raise ValueError")
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    found = outcomes(project)
    assert found["model risk: inputs"].verdict == "fail"
    assert "'lost' (roc_auc 1.0000), limit 0.99" in found["model risk: inputs"].text
    assert found["source loans: readable"].text.startswith("303 rows of 4 of 4 files")
    assert found["view past: leak-free"].verdict == found["view level: leak-free"].verdict == "pass"
    assert found["model loss: features"].text == "150 rows, 150 labelled, 4 features"
    assert not any(each.group == "gateway" for each in found.values()), "nothing was trained"
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before, "nothing of the project changes"


def test_a_missing_file_fails_its_source_and_skips_what_needs_it(project: Path) -> None:
    (project / "rates.csv").unlink()
    break_trainer(project, "risk", "raise ValueError")
    found = outcomes(project)
    assert found["source rates: readable"].verdict == "fail"
    assert "there is no" in found["source rates: readable"].text
    assert found["view level: leak-free"].text == "no rows of source rates"
    assert found["model loss: trainer"].verdict == "skip"
    assert found["model risk: features"].verdict == "pass"


def test_a_wrong_policy_ends_the_test_with_exit_code_2(project: Path) -> None:
    (project / "trimtab.yaml").write_text("project: loans\ngates: { acuracy: {} }\n")
    found = outcomes(project)
    assert list(found) == ["project: definitions"]
    assert "Did you mean 'accuracy'" in found["project: definitions"].text
    assert exit_code(list(found.values())) == 2
