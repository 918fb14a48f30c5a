"""The report as Markdown and JUnit XML, and thresholds that changed after the run began."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from trimtab.clock import ManualClock
from trimtab.gates.report import changed_thresholds, gates_hash, gates_json, report
from trimtab.gates.verdict_files import JUNIT, MARKDOWN, junit, markdown, write_verdict
from trimtab.policy.gates import Gates
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.record import Verdict

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def result(verdict: Verdict, reason: str) -> GateResult:
    return GateResult(
        gate="accuracy", metric="roc_auc", verdict=verdict, value=0.5, low=0.4, high=0.6, threshold=0.7, reason=reason
    )


def made(*results: GateResult, **keys: Any) -> GateReport:
    return report(results, model="delay", run="r1", champion=None, clock=ManualClock(NOW), key="k", **keys)


def test_junit_has_a_case_for_each_result() -> None:
    said = junit(made(result("fail", 'under the "limit" & more\x00'), result("warn", "few days"), result("pass", "")))
    suite = ElementTree.fromstring(said).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    cases = suite.findall("testcase")
    failure = cases[0].find("failure")
    assert failure is not None
    assert failure.get("message") == 'under the "limit" & more'
    assert cases[1].findtext("system-out") == "warning: few days"
    assert cases[2].find("failure") is None


def test_markdown_has_a_row_for_each_result() -> None:
    said = markdown(made(result("fail", "a | b\nc"), runtime="skops", runtime_reason="no converter"))
    assert said.startswith("# Gates of run r1: fail\n")
    assert "| accuracy | roc_auc | fail | 0.5 | 0.4 to 0.6 | 0.7 | a \\| b c |" in said
    assert "- served by: skops, because no converter\n" in said


def test_both_files_stand_in_the_bundle(tmp_path: Path) -> None:
    write_verdict(tmp_path, made(result("pass", "")))
    assert {path.name for path in tmp_path.iterdir()} == {MARKDOWN, JUNIT}


def test_a_threshold_that_changed_after_the_run_began_is_named() -> None:
    before, after = gates_json(Gates()), gates_json(Gates.model_validate({"accuracy": {"min": 0.6}, "leakage": None}))
    assert changed_thresholds(before, before, NOW) is None
    assert changed_thresholds(before, after, None) is None
    found = changed_thresholds(before, after, NOW)
    assert found is not None
    assert found.verdict == "warn"
    assert found.reason.startswith(
        "changed after the run began, at 2026-03-01 12:00:00 UTC: gates.accuracy.min from None to"
    )
    assert "gates.leakage.max_score from 0.995 to left out" in found.reason


def test_the_report_says_whether_the_thresholds_are_the_frozen_ones() -> None:
    own, other = gates_hash(gates_json(Gates())), gates_hash({})
    assert "as frozen at 2026-03-01 12:00:00 UTC before the run" in markdown(
        made(thresholds=own, frozen=own, frozen_at=NOW)
    )
    assert f"changed since {other[:12]} was frozen" in markdown(made(thresholds=own, frozen=other, frozen_at=NOW))
    assert "not frozen before the run" in markdown(made(thresholds=own))
