"""The project's own tests: its folder tests/, run by pytest in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from trimtab import settings
from trimtab.app.delivery.outcomes import Checks, Skipped
from trimtab.errors import CheckFailed
from trimtab.units import plural

FOLDER = "tests"
NOTHING_COLLECTED = 5
"""Exit code of pytest where it found no test."""
SHOWN = 3
SHOWN_OUTPUT = 300


def run_own_tests(folder: Path, environment: str, checks: Checks) -> None:
    """Run the project's own tests as one check. They find the project in TRIMTAB_PROJECT and on the Python path."""
    checks.run("project", FOLDER, lambda: _run(folder.expanduser().resolve(), environment))


def _run(folder: Path, environment: str) -> tuple[bool, str]:
    if not (folder / FOLDER).is_dir():
        raise Skipped(f"the project has no folder {FOLDER}/")
    if find_spec("pytest") is None:
        raise CheckFailed(
            f"the project has a folder {FOLDER}/, and pytest is not installed: pip install pytest; or leave its tests "
            "out: trimtab test --only contract"
        )
    with tempfile.TemporaryDirectory(prefix="trimtab-pytest-") as name:
        report = Path(name) / "report.xml"
        variables = settings.child_environment(TRIMTAB_PROJECT=str(folder), TRIMTAB_ENV=environment)
        variables["PYTHONPATH"] = f"{folder}:{variables['PYTHONPATH']}" if variables.get("PYTHONPATH") else str(folder)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", FOLDER]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        cases = _cases(report)
    counts = {kind: sum(each.find(kind) is not None for each in cases) for kind in ("failure", "error", "skipped")}
    passed = len(cases) - sum(counts.values())
    text = f"{passed:,} of {plural(len(cases), 'test')} passed"
    if counts["skipped"]:
        text += f", {counts['skipped']:,} skipped"
    if done.returncode == NOTHING_COLLECTED:
        raise Skipped(f"pytest found no test in {FOLDER}/")
    if done.returncode:
        why = "; ".join(_failures(cases)) or (done.stdout + done.stderr).strip()[-SHOWN_OUTPUT:]
        raise CheckFailed(f"{text}: {why}")
    return True, text


def _cases(report: Path) -> list[ElementTree.Element]:
    try:
        return list(ElementTree.parse(report).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return []


def _failures(cases: list[ElementTree.Element]) -> list[str]:
    """Return the first tests that failed, with the first line of why."""
    found = []
    for case in cases:
        for kind in ("failure", "error"):
            if (problem := case.find(kind)) is not None:
                said = (problem.get("message") or "").splitlines()
                found.append(f"{case.get('classname')}.{case.get('name')}: {said[0] if said else kind}")
    more = f"{len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return [*found[:SHOWN], *filter(None, [more])]
