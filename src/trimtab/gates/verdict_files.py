"""A gate report as files that others read: Markdown for people, JUnit XML for build servers."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from trimtab.records.gate_reports import GateReport, GateResult

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
    counts = {verdict: sum(each.verdict == verdict for each in report.results) for verdict in ("fail", "warn")}
    suites = ElementTree.Element("testsuites", name="trimtab gates", tests=str(len(report.results)))
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=f"{report.model} {report.run}",
        tests=str(len(report.results)),
        failures=str(counts["fail"]),
        errors="0",
        skipped="0",
        timestamp=f"{report.created_at:%Y-%m-%dT%H:%M:%S}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("served_by", served_by(report)), ("thresholds", thresholds(report))):
        ElementTree.SubElement(properties, "property", name=name, value=_plain(value))
    for result in report.results:
        _case(suite, result)
    ElementTree.indent(suites)
    found: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


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


def _case(suite: ElementTree.Element, result: GateResult) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=result.gate, name=_plain(result.metric))
    if result.verdict == "fail":
        ElementTree.SubElement(case, "failure", message=_plain(result.reason), type=result.gate)
    else:
        text = f"warning: {result.reason}" if result.verdict == "warn" else result.reason
        ElementTree.SubElement(case, "system-out").text = _plain(text)


def _plain(text: str) -> str:
    """Return the text without the control characters that XML does not allow."""
    return "".join(each for each in text if each >= " " or each in "\t\n")
