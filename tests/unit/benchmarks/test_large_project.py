"""The records of a large project, written in small: pages open on them, and their chains hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.console import large_project

from trimtab.app.overviews.decision_overview import decision_overview
from trimtab.app.overviews.loop_overview import loop_overview
from trimtab.app.overviews.model_overview import model_overview
from trimtab.app.reports.decision_list import DecisionFilter
from trimtab.control.ledger import verify_chain
from trimtab.records.control import Decision
from trimtab.records.monitoring import Comparison


def test_pages_open_on_the_records_of_a_large_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_project, "A_VERSION", 20)
    monkeypatch.setattr(large_project, "COMPARED", 5)
    workspace = large_project.write_project(tmp_path / "large", models=3, windows=60, decisions=40)
    metadata = workspace.metadata
    assert metadata.verify().breaks == ()
    assert metadata.count(Decision, model="delay") == 40
    verify_chain(metadata.find(Decision, model="delay", oldest_first=True))
    assert metadata.count(Comparison, model="delay", version=2, against=1) == 5
    page = model_overview(workspace, "delay")
    assert len(page.windows) == 60
    assert [span.version for span in page.spans if span.role == "champion"] == [1, 2, 3]
    assert {row.model for row in loop_overview(workspace).models} == {"delay", "model01", "model02"}
    assert decision_overview(workspace, DecisionFilter(model="delay")).total == 40
    metadata.close()
