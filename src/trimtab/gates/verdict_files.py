"""A gate report as files that others read: Markdown for people, JUnit XML for build servers."""

from __future__ import annotations

from pathlib import Path

from trimtab.gates.junit_xml import Case, junit_xml
from trimtab.records.gate_reports import GateReport

MARKDOWN, JUNIT = "gates.md", "gates.junit.xml"
"""Names of the files in a bundle."""


def write_verdict(folder: Path, report: GateReport) -> None:
    """Write both files into the folder of a bundle."""
    (folder / MARKDOWN).write_text(markdown(report), encoding="utf-8")
    (folder / JUNIT).write_bytes(junit(report))


def markdown(report: GateReport) -> str:
    """Return the report as Markdown: the verdict, what it rests on, and one row a result."""
    lines = [
        f"# Gates of run {report.run}: {report.verdict}",
        "",
        f"- model: {report.model}",
        f"- judged: {report.created_at:%Y-%m-%d %H:%M:%S} UTC",
        f"- compared with: {report.champion or 'nothing, since no version serves'}",
        f"- served by: {served_by(report)}",
        f"- thresholds: {thresholds(report)}",
        "",
        "| Gate | Measured | Verdict | Value | Interval | Limit | Why |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in report.results:
        interval = "" if result.low is None or result.high is None else f"{result.low:.4g} to {result.high:.4g}"
        limit = "" if result.threshold is None else f"{result.threshold:.4g}"
        cells = (result.gate, result.metric, result.verdict, f"{result.value:.4g}", interval, limit, result.reason)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def junit(report: GateReport) -> bytes:
    """Return the report as JUnit XML: one test case a result; a warning is a case with output."""
    cases = [
        Case(
            group=each.gate,
            name=each.metric,
            text=f"warning: {each.reason}" if each.verdict == "warn" else each.reason,
            outcome="failed" if each.verdict == "fail" else "passed",
        )
        for each in report.results
    ]
    about = {"served_by": served_by(report), "thresholds": thresholds(report)}
    suite = f"{report.model} {report.run}"
    return junit_xml("trimtab gates", suite, cases, at=report.created_at, properties=about)


def served_by(report: GateReport) -> str:
    """Return the library that serves the model, and why it is not ONNX Runtime where it is not."""
    if not report.runtime:
        return "not recorded"
    return f"{report.runtime}, because {report.runtime_reason}" if report.runtime_reason else report.runtime


def thresholds(report: GateReport) -> str:
    """Return the hash of the thresholds, and when they were frozen."""
    if report.frozen_at is None:
        return f"{report.thresholds[:12] or 'not recorded'}, not frozen before the run"
    same = "as frozen" if report.thresholds == report.frozen else f"changed since {report.frozen[:12]} was frozen"
    return f"{report.thresholds[:12]}, {same} at {report.frozen_at:%Y-%m-%d %H:%M:%S} UTC before the run"
