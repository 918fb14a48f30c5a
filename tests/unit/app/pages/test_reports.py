"""Reports of a model and of a decision say what the overviews say, for every task."""

from __future__ import annotations

from html import escape, unescape

import pytest

from kit.task_windows import MODELS, Served
from trimtab.app.overviews.decision_detail import decision_detail
from trimtab.app.overviews.model_overview import model_overview
from trimtab.app.overviews.wording import window_name
from trimtab.app.pages.decision_report import PANELS, decision_page
from trimtab.app.pages.model_report import model_page
from trimtab.errors import DefinitionError, NotFound
from trimtab.metric_catalog import TASKS, Task
from trimtab.records.control import Decision

STEPS = (
    "Window and rows", "How unusual", "What it cost", "What the policy said", "The brakes, in their order",
    "What was done", "The answer", "The retraining", "The chain",
)  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_the_report_of_a_model_has_its_sentence_figures_and_charts(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    found = model_overview(workspace, name)
    page = model_page(workspace, name)
    assert escape(found.now.sentence, quote=False) in page.replace("&#39;", "'")
    for fact in found.now.facts:
        assert f"<dt>{fact.label}</dt><dd>{escape(fact.figure)}</dd>" in page
    for heading in ("What serves", "Decisions", "Signals", "Latency, p99, ms", "What was decided"):
        assert f"<h2>{heading}</h2>" in page
    for group in found.groups:
        assert group.name in page
    assert page.count("<svg") == 9
    assert "var(--champion)" in page


def test_the_report_of_a_decision_is_the_whole_chain(served: Served) -> None:
    workspace, name = served("binary"), MODELS["binary"]
    newest = workspace.metadata.find(Decision, model=name, limit=1)[0]
    found = decision_detail(workspace, name, newest.number)
    page = unescape(decision_page(workspace, name, newest.number))
    assert found.sentence in page
    for n, heading in enumerate(STEPS, start=1):
        assert f"<h2>{n} {heading}</h2>" in page
    assert window_name(newest.start, newest.end) in page
    for text in (newest.hash, newest.previous_hash, newest.window, *newest.reasons):
        assert text in page
    for brake in found.brakes:
        assert f"<td>{brake.word}</td>" in page
    for reason in found.why_not:
        assert reason.text in page
    assert page.count("<svg") == len(PANELS)


def test_an_unknown_decision_or_model_is_refused(served: Served) -> None:
    workspace = served("binary")
    with pytest.raises(NotFound, match="has no decision 9999"):
        decision_page(workspace, MODELS["binary"], 9999)
    with pytest.raises(DefinitionError, match="Did you mean"):
        model_page(workspace, MODELS["binary"] + "x")
