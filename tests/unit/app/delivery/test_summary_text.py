"""The Markdown of a summary: what GitHub shows of it."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from trimtab.app.delivery.delivery_summary import (
    DeliverySummary,
    MetricLine,
    ModelSummary,
    StageLine,
    TableLine,
)
from trimtab.app.delivery.summary_text import LIMIT, lines, markdown, marker, plain, unreadable
from trimtab.records.gate_reports import GateResult

AT = datetime(2026, 2, 1, tzinfo=UTC)
GATE = GateResult(
    gate="accuracy", metric="roc_auc", verdict="fail", value=0.7, low=0.6, high=0.8, threshold=0.75,
    reason="a | b <script>",
)  # fmt: skip
MODEL = ModelSummary(
    model="delay",
    task="binary",
    dataset="d" * 64,
    rows=1200,
    labelled=1000,
    features=3,
    as_of=AT,
    run="r" * 32,
    trained=AT,
    code_version="abc",
    params={"depth": 3},
    metrics=(
        MetricLine(
            metric="roc_auc", value=0.7, other="delay/2", rows=800, own_value=0.74, other_value=0.72, gain=0.02,
            low=-0.05, high=0.01, confidence=0.95,
        ),
        MetricLine(metric="brier", value=0.2),
    ),
    verdict="fail",
    gates=(GATE,),
    next="nothing deploys",
    links={"model": "https://console.example.com/models/delay"},
)  # fmt: skip
SUMMARY = DeliverySummary(
    project="late flights",
    environment="local",
    currency="USD",
    verdict="failed",
    sentence="1 problem.",
    problems=("evaluate of delay failed: refused:\n  accuracy: ```too low```",),
    tables=(TableLine(table="flights", version="flights@3", rows=9000, added=100, verdict="pass", reason="all pass"),),
    models=(MODEL,),
    stages=(
        StageLine(stage="train", model="delay", at=AT, seconds=12.3, cpu_seconds=20.0, cost=0.0002, error=""),
        StageLine(stage="evaluate", model="delay", at=AT, seconds=1.0, cpu_seconds=1.0, cost=1e-5, error="refused"),
    ),
)


def test_the_markdown_begins_with_its_marker_and_holds_every_figure() -> None:
    text = markdown(SUMMARY)
    assert text.splitlines()[0] == marker("late flights", "local") == "<!-- trimtab summary: late-flights local -->"
    assert "| Metric | Run, holdout | Run, 800 rows | delay/2, same rows | Gain | Interval of the gain |" in text
    assert "| roc_auc | 0.7 | 0.74 | 0.72 | +0.02 | -0.05 to +0.01 at 95% |" in text
    assert "| brier | 0.2 |  |  |  |  |" in text
    assert r"| ❌ fail | accuracy | roc_auc | 0.7 | 0.6 to 0.8 | 0.75 | a \| b &lt;script&gt; |" in text
    assert "| evaluate | delay | ❌ failed | 1.0 s | 1.0 s | 1e-05 USD |" in text
    assert "| flights@3 | 9,000 | 100 | ✅ pass | all pass |" in text
    assert "[model](https://console.example.com/models/delay)" in text
    assert "depth = 3" in text


def test_more_lines_of_a_problem_are_a_block_that_they_cannot_end() -> None:
    text = markdown(SUMMARY)
    assert "- evaluate of delay failed: refused:\n  ````\n    accuracy: ```too low```\n  ````" in text


def test_the_lines_of_the_terminal_hold_the_same() -> None:
    text = "\n".join(lines(SUMMARY))
    for part in (
        "late flights (local): failed",
        "0.74, delay/2 0.72, gain +0.02 (-0.05 to +0.01 at 95%)",
        "next      delay: nothing deploys",
    ):
        assert part in text
    assert "stage     evaluate delay: failed after 1.0 s" in text


def test_a_comment_holds_what_fits_and_names_the_other_models() -> None:
    many = tuple(msgspec.structs.replace(MODEL, model=f"m{n}") for n in range(200))
    text = markdown(msgspec.structs.replace(SUMMARY, models=many))
    assert len(text) < LIMIT + 5_000
    assert "### m0 (binary)" in text
    assert "m199" in text.splitlines()[-1]


def test_a_project_that_cannot_be_opened_is_told() -> None:
    assert "- trimtab.yaml:3: gates: what &lt;is&gt; this" in unreadable("trimtab.yaml:3: gates: what <is> this", "ci")


@given(st.text())
def test_no_text_leaves_its_cell(text: str) -> None:
    cell = plain(text)
    assert "\n" not in cell
    assert "<" not in cell.replace("<br>", "")
    assert not any(mark == "|" and cell[:place][-1:] != "\\" for place, mark in enumerate(cell))
