"""The dashboard and the rules: whole, in PromQL that Prometheus reads, with the limits of the policy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.serving.telemetry.exposition import COUNTER, FAMILIES, GAUGE, HISTOGRAM
from trimtab.targets import grafana
from trimtab.targets.prometheus_rules import rules

PLAIN = parse_policy("project: p\n")
FULL = parse_policy(
    """
project: flights
rollout: { rollback_when: { error_rate: 2%, p99: 250ms } }
impact: { currency: EUR, medium: 500, high: 1500 }
features: { freshness: { history: 2h } }
alerts: { label_coverage: 60%, loop_silence: 5m }
console: { url: "https://console.example.com" }
"""
)
POLICIES = pytest.mark.parametrize("policy", [PLAIN, FULL], ids=["plain", "full"])
VARIABLES = {"$__rate_interval": "5m", "$__interval": "5m", "$model": ".*", "$version": ".*"}


def panels(policy: Policy) -> dict[str, dict[str, Any]]:
    return {panel["title"]: panel for panel in grafana.dashboard(policy)["panels"]}


def expressions(policy: Policy) -> list[str]:
    """Return all PromQL of dashboard and rules, with values in place of Grafana's variables."""
    found = [target["expr"] for panel in panels(policy).values() for target in panel.get("targets", ())]
    found += [mark["expr"] for mark in grafana.dashboard(policy)["annotations"]["list"]]
    found += [rule["expr"] for group in rules(policy)["groups"] for rule in group["rules"]]
    for name, value in VARIABLES.items():
        found = [expression.replace(name, value) for expression in found]
    return found


@POLICIES
def test_panels_fill_the_grid_and_do_not_overlap(policy: Policy) -> None:
    taken: dict[tuple[int, int], str] = {}
    made = grafana.dashboard(policy)["panels"]
    assert len({panel["id"] for panel in made}) == len(made)
    for panel in made:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, f"{panel['title']} lies on {taken.get((x, y))}"
                taken[x, y] = panel["title"]


@POLICIES
def test_every_metric_is_one_of_the_gateway(policy: Policy) -> None:
    endings = {COUNTER: ("_total",), GAUGE: ("",), HISTOGRAM: ("_bucket", "_sum", "_count")}
    known = {family.name + ending for family in FAMILIES for ending in endings[family.kind]}
    asked = {name for expression in expressions(policy) for name in re.findall(r"\btrimtab_\w+", expression)}
    assert asked - known == set()
    assert len(asked) > 25


@POLICIES
def test_prometheus_reads_every_expression(policy: Policy, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, of the package prometheus, is not installed")
    every = [{"record": f"trimtab:{n}", "expr": expr} for n, expr in enumerate(expressions(policy))]
    texts = {
        "panels.yaml": yaml.safe_dump({"groups": [{"name": "panels", "rules": every}]}),
        "rules.yaml": grafana.files(policy)[f"{grafana.FOLDER}/{grafana.RULES}"],
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        command = [promtool, "check", "rules", name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_limits_are_those_of_the_policy() -> None:
    made = panels(FULL)

    def steps(title: str) -> list[tuple[float | None, str]]:
        defaults = made[title]["fieldConfig"]["defaults"]
        return [(step["value"], step["color"]) for step in defaults["thresholds"]["steps"]]

    assert steps("Rows without a usable score") == [(None, "green"), (0.02, "red")]
    assert steps("Scores, by version") == [(None, "green"), (0.25, "red")]
    assert steps("Sequential p-values") == [(None, "red"), (0.01, grafana.YELLOW), (0.05, "green")]
    assert steps("A day beyond what is usual") == [(None, "green"), (500.0, grafana.YELLOW), (1500.0, "red")]
    assert steps("Labelled share of the rows") == [(None, "red"), (0.6, "green")]
    assert steps("Age of online values") == [(None, "green"), (7200.0, "red")]
    assert made["Lost in the window"]["fieldConfig"]["defaults"]["unit"] == "currencyEUR"
    by_name = {rule["alert"]: rule["expr"] for rule in rules(FULL)["groups"][0]["rules"]}
    assert by_name["TrimtabErrors"].endswith("> 0.02")
    assert by_name["TrimtabSlow"].endswith("> 0.25")
    assert by_name["TrimtabLoopStandsStill"].endswith("> 300")
    assert by_name["TrimtabViewStale"] == 'trimtab_view_age_seconds{view="history"} > 7200'
    assert "TrimtabErrors" not in {rule["alert"] for rule in rules(PLAIN)["groups"][0]["rules"]}


def test_a_dashboard_is_what_grafana_imports() -> None:
    text = grafana.files(FULL)[f"{grafana.FOLDER}/{grafana.DASHBOARD}"]
    made = json.loads(text)
    assert made["schemaVersion"] >= 39
    assert [variable["name"] for variable in made["templating"]["list"]] == ["datasource", "model", "version"]
    assert [p["title"] for p in made["panels"] if p["type"] == "row"] == [
        "Traffic",
        "Latency",
        "Errors",
        "Confidence",
        "Drift",
        "Money",
        "Loop",
    ]
    assert made["links"][0]["url"] == "https://console.example.com"
    assert grafana.dashboard(PLAIN)["links"] == []
    for panel in made["panels"]:
        assert [t["refId"] for t in panel.get("targets", ())] == ["A", "B", "C", "D"][: len(panel.get("targets", ()))]
