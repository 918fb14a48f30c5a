"""JUnit XML: the form in which build servers read results of tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test case: passed with its output, failed, or skipped.

    group: `classname`, under which build servers list it. seconds: None where it was not measured.
    """

    group: str
    name: str
    text: str
    outcome: str = "passed"
    """passed, failed or skipped."""
    seconds: float | None = None


def junit_xml(
    title: str, suite: str, cases: Sequence[Case], *, at: datetime, properties: Mapping[str, str] | None = None
) -> bytes:
    """Return the document with one suite. title: of the document. at: when the suite ran, UTC."""
    counts = {outcome: str(sum(each.outcome == outcome for each in cases)) for outcome in ("failed", "skipped")}
    suites = ElementTree.Element("testsuites", name=title, tests=str(len(cases)))
    element = ElementTree.SubElement(
        suites,
        "testsuite",
        name=suite,
        tests=str(len(cases)),
        failures=counts["failed"],
        errors="0",
        skipped=counts["skipped"],
        timestamp=f"{at:%Y-%m-%dT%H:%M:%S}",
    )
    measured = [each.seconds for each in cases if each.seconds is not None]
    if measured:
        element.set("time", f"{sum(measured):.3f}")
    if properties:
        listed = ElementTree.SubElement(element, "properties")
        for name, value in properties.items():
            ElementTree.SubElement(listed, "property", name=name, value=_plain(value))
    for each in cases:
        _add(element, each)
    ElementTree.indent(suites)
    found: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def _add(suite: ElementTree.Element, case: Case) -> None:
    element = ElementTree.SubElement(suite, "testcase", classname=_plain(case.group), name=_plain(case.name))
    if case.seconds is not None:
        element.set("time", f"{case.seconds:.3f}")
    if case.outcome == "failed":
        ElementTree.SubElement(element, "failure", message=_plain(case.text), type=_plain(case.group))
    elif case.outcome == "skipped":
        ElementTree.SubElement(element, "skipped", message=_plain(case.text))
    else:
        ElementTree.SubElement(element, "system-out").text = _plain(case.text)


def _plain(text: str) -> str:
    """Return the text without the characters that XML does not allow."""
    return "".join(each for each in text if (each >= " " and not "\ud800" <= each <= "\udfff") or each in "\t\n")
