"""The page of an evaluation of a prompt: gates, items that got worse or better, flaky ones, tags, all answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from trimtab.app.overviews.wording import count, instant
from trimtab.app.pages.page_parts import Cell, Column, Page, Section, Table, write_page
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.llm.evaluate.answer_marks import PICO
from trimtab.llm.evaluate.item_changes import outcomes
from trimtab.llm.evaluate.results import CANDIDATE, CHAMPION, Evaluation, ItemResult
from trimtab.records.gate_reports import GateReport
from trimtab.records.record import Verdict
from trimtab.units import plural

WORDS: dict[Verdict, str] = {"pass": "All gates pass", "warn": "Passed with warnings", "fail": "Refused"}
TONES: dict[Verdict, str] = {"pass": "pass", "warn": "moderate", "fail": "severe"}
MOST_ITEMS = 500
"""Items in the list of all."""
MOST_CHARACTERS = 1_500
"""Characters that are shown of a text."""


def evaluation_page(report: GateReport, evaluation: Evaluation) -> str:
    """Return the page. All texts of items and answers are escaped.

    Raises MissingExtra without the extra `console`.
    """
    facts = evaluation.facts
    sides = [side.name for side in facts.sides]
    found = outcomes(evaluation)
    compared = f" compared with {sides[CHAMPION]}" if len(sides) > 1 else ""
    failing = [f"{each.gate}: {each.reason}" for each in report.results if each.verdict == "fail"]
    return write_page(
        Page(
            title=f"{facts.prompt}: {sides[CANDIDATE]}{compared}",
            lead=", ".join(f"{side.name}: {side.model} at {side.endpoint}" for side in facts.sides),
            sentence=WORDS[report.verdict],
            tone=TONES[report.verdict],
            more=failing,
            facts=[
                ("Items", count(len(evaluation.items)), f"{plural(facts.repeats, 'answer')} each"),
                ("Worse", count(len(found.broken)), "items"),
                ("Better", count(len(found.mended)), "items"),
                ("Flaky", count(len(found.flaky)), "items"),
                ("Cost", f"{facts.cost_pico * PICO:.4g}", f"{count(facts.cached)} from the cache"),
            ],
            sections=[
                _gates(report),
                _changed(evaluation, "Worse than before", found.broken),
                _changed(evaluation, "Better than before", found.mended),
                _flaky(evaluation, [item for item, _ in found.flaky]),
                _tags(report),
                _all(evaluation),
            ],
            foot=[
                f"Judged {instant(report.created_at)}, sets {', '.join(facts.sets)}. Quality is decided by "
                f"{facts.quality}."
            ],
        )
    )


def _gates(report: GateReport) -> Section:
    columns = [Column("Gate"), Column("Verdict", True), Column("Why", True)]
    rows = [(each.gate, Cell(each.verdict, TONES[each.verdict]), each.reason) for each in report.results]
    return Section(heading="Gates", table=Table(columns, rows))


def _changed(evaluation: Evaluation, heading: str, found: Sequence[tuple[ItemResult, float]]) -> Section | None:
    if not found:
        return None
    return _items(evaluation, heading, [item for item, _ in found])


def _flaky(evaluation: Evaluation, items: Sequence[ItemResult]) -> Section | None:
    lead = "Some of the answers to them pass, others do not."
    return _items(evaluation, "Flaky", items, lead=lead) if items else None


def _tags(report: GateReport) -> Section | None:
    tags = [tag for each in report.results if each.gate == "tags" for tag in each.details.get("tags", ())]
    if not tags:
        return None
    columns = [Column("Tag"), Column("Items"), Column("Difference"), Column("p (Holm)")]
    rows = [
        (
            str(tag["tag"]),
            count(tag["n"]),
            f"{tag['difference']:+.3f}",
            "too few items" if tag["p"] is None else f"{tag['p']:.3g}",
        )
        for tag in tags
    ]
    return Section(heading="By tag", table=Table(columns, rows))


def _all(evaluation: Evaluation) -> Section:
    shown = evaluation.items[:MOST_ITEMS]
    left = len(evaluation.items) - len(shown)
    return _items(evaluation, "All items", shown, foot=f"{count(left)} more are not shown." if left else "")


def _items(
    evaluation: Evaluation, heading: str, items: Iterable[ItemResult], *, lead: str = "", foot: str = ""
) -> Section:
    sides = [side.name for side in evaluation.facts.sides]
    columns = [
        Column("Item"),
        Column("Input", True),
        Column("Wanted", True),
        *(Column(name, True) for name in sides),
        Column("Why", True),
    ]
    return Section(
        heading=heading, lead=lead, foot=foot, table=Table(columns, [_row(evaluation, item) for item in items])
    )


def _row(evaluation: Evaluation, item: ItemResult) -> tuple[Cell | str, ...]:
    said = [_said(evaluation, item, side) for side in range(len(evaluation.facts.sides))]
    inputs = next(iter(item.inputs.values())) if len(item.inputs) == 1 else item.inputs
    return item.place, _text(inputs), _text(item.expected), *said, _why(evaluation, item)


def _said(evaluation: Evaluation, item: ItemResult, side: int) -> Cell:
    answers = item.answers[side]
    texts = dict.fromkeys(_answer(each) for each in answers)
    name = evaluation.facts.quality
    marks = item.marks[name][side] if name in item.marks else ()
    mean = sum(mark.value or 0.0 for mark in marks) / len(marks) if marks else 0.0
    tone = "" if not marks else "pass" if mean >= 1 else "severe" if mean <= 0 else "moderate"
    repeated = f" [{plural(len(answers), 'answer')}, score {mean:.2g}]" if len(answers) > 1 else ""
    return Cell(" | ".join(texts) + repeated, tone)


def _answer(answer: Answer) -> str:
    if answer.error:
        return f"refused: {answer.error}"
    return _text(answer.text or answer.refusal or answer.tool_calls or "")


def _why(evaluation: Evaluation, item: ItemResult) -> str:
    """Return the reasons of evaluators that the candidate's first answer did not satisfy."""
    said = []
    for name, sides in item.marks.items():
        mark = sides[CANDIDATE][0]
        if mark.value is None or mark.value < 1:
            value = "no verdict" if mark.value is None else f"{mark.value:.2g}"
            said.append(f"{name} {value}" + (f": {mark.reason}" if mark.reason else ""))
    return "; ".join(said)[:MOST_CHARACTERS]


def _text(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."
