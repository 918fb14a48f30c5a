"""What the exported dashboard and rules ask for is what a running gateway shows, beside a loop and a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
import yaml

from integration.gateway_project import GatewayProject, infer
from kit.commands import typed
from trimtab.app.alerts.heart import Heart
from trimtab.app.ingestion.progress import write_ingestion
from trimtab.app.loop.model_figures import model_figures
from trimtab.app.project.process_files import own_pid
from trimtab.records.stream_progress import IngestionProgress, StreamProgress
from trimtab.targets import grafana
from trimtab.testing.judged import judged_signals, window_report


@pytest.fixture
def project(tmp_path: Path) -> Iterator[GatewayProject]:
    made = GatewayProject(tmp_path, rollout={"rollback_when": {"error_rate": "2%", "p99": "250ms"}})
    made.deploy(1)
    yield made
    made.stop()


def samples(url: str) -> set[str]:
    """Return the names of all samples of a scrape."""
    text = httpx.get(f"{url}/metrics").text
    declared = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    return declared | set(re.findall(r"^(\w+)", text, re.MULTILINE))


def test_every_metric_of_every_expression_is_in_a_scrape(project: GatewayProject) -> None:
    url = project.start()
    with httpx.Client(base_url=url) as client:
        assert infer(client, 0).status_code == 200
    workspace = project.workspace
    window = window_report(0, metrics={"log_loss": 0.4, "money_lost": 12.0})
    workspace.metadata.put(window, *judged_signals(window))
    one = StreamProgress(source="payments", rows=7, lag=3, freshness_s=0.5)
    write_ingestion(workspace.run_folder, IngestionProgress(pid=own_pid(), since=workspace.now(), streams=(one,)))
    figures = msgspec.structs.replace(model_figures(workspace, "delay"), impact_per_day=1.0)
    Heart(workspace.run_folder, workspace.clock, lambda: (figures,))
    typed("export", "grafana", "--write", "-p", project.folder)
    dashboard = json.loads((project.folder / grafana.FOLDER / grafana.DASHBOARD).read_text())
    rules = yaml.safe_load((project.folder / grafana.FOLDER / grafana.RULES).read_text())
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    texts += [mark["expr"] for mark in dashboard["annotations"]["list"]]
    texts += [str(variable["query"]) for variable in dashboard["templating"]["list"]]
    texts += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked = {name for text in texts for name in re.findall(r"\btrimtab_\w+", text)}
    assert len(asked) > 30
    assert asked - samples(url) == set()
