"""Outcomes of checks: their verdicts, exit codes and JUnit XML."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

from trimtab.app.delivery.outcomes import Checks, Outcome, Skipped, Warned, exit_code, junit_of
from trimtab.errors import DefinitionError


def failing(error: Exception) -> tuple[int, str]:
    raise error


def run() -> Checks:
    told: list[Outcome] = []
    checks = Checks(told.append)
    checks.rename("/scratch", "/project")
    assert checks.run("source a", "readable", lambda: (3, "3 rows")) == 3
    assert checks.run("source b", "readable", lambda: failing(Skipped("no file yet"))) is None
    assert checks.run("model m", "features", lambda: failing(Warned("few rows", value=7))) == 7
    assert checks.run("model m", "trainer", lambda: failing(ValueError("/scratch/x.py\n  line two"))) is None
    assert checks.run("view v", "leak-free", lambda: failing(DefinitionError("wrong <column>"))) is None
    checks.skip("model m", "bundle", "nothing was trained")
    assert told == checks.outcomes
    return checks


def test_verdicts_follow_from_what_a_check_raises() -> None:
    outcomes = run().outcomes
    assert [each.verdict for each in outcomes] == ["pass", "skip", "warn", "fail", "fail", "skip"]
    assert outcomes[3].text == "ValueError: /project/x.py; line two"


def test_the_exit_code_is_that_of_the_first_failure() -> None:
    outcomes = run().outcomes
    assert exit_code(outcomes) == 1
    assert exit_code(outcomes[4:]) == 2
    assert exit_code(outcomes[:3]) == 0


def test_junit_has_one_case_a_check() -> None:
    suite = ElementTree.fromstring(junit_of("trimtab test", "local", run().outcomes, datetime(2026, 1, 1, tzinfo=UTC)))[
        0
    ]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "2", "2")
    cases = {f"{case.get('classname')}: {case.get('name')}": case for case in suite.iter("testcase")}
    assert cases["model m: features"].findtext("system-out") == "warning: few rows"
    failure = cases["view v: leak-free"].find("failure")
    assert failure is not None
    assert failure.get("message") == "wrong <column>"
    assert float(cases["source a: readable"].get("time", "")) >= 0
