"""The project's own tests, which pytest runs in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.app.delivery import own_tests
from trimtab.app.delivery.outcomes import Checks, Outcome
from trimtab.app.delivery.own_tests import run_own_tests


def outcome(folder: Path) -> Outcome:
    checks = Checks(lambda outcome: None)
    run_own_tests(folder, "staging", checks)
    (found,) = checks.outcomes
    return found


def test_they_import_the_projects_modules_and_failures_are_named(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "shapes.py").write_text("SIDES = 4\n")
    (tmp_path / "tests" / "test_shapes.py").write_text(
        "import os, shapes\n"
        "def test_sides(): assert shapes.SIDES == 4\n"
        "def test_environment(): assert os.environ['TRIMTAB_ENV'] == 'staging'\n"
        "def test_wrong(): assert shapes.SIDES == 5, 'five sides'\n"
    )
    found = outcome(tmp_path)
    assert found.verdict == "fail"
    assert found.text.startswith("2 of 3 tests passed: tests.test_shapes.test_wrong: AssertionError: five sides")


def test_a_project_without_tests_is_skipped(tmp_path: Path) -> None:
    assert (outcome(tmp_path).verdict, outcome(tmp_path).text) == ("skip", "the project has no folder tests/")


def test_a_missing_pytest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.setattr(own_tests, "find_spec", lambda name: None)
    found = outcome(tmp_path)
    assert found.verdict == "fail"
    assert "pip install pytest" in found.text
