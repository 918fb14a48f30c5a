"""A project that declares a fallback rule, from training to a gateway whose champion gives no number."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from integration.gateway_project import GatewayProject
from kit.commands import typed

RULE = """
@delay.fallback(inputs=["distance", "leaves_at"])
def usual(distance, leaves_at):
    night = leaves_at.astype("datetime64[h]").astype("int64") % 24 < 6
    return np.where(distance > 1000, 30.0, 20.0) + night
"""
DEFINITIONS = f"""
import numpy as np
import trimtab as tt

flights = tt.FileSource("flights", "flights.csv", timestamp="leaves_at", known_at="lands_at")
delay = tt.Model("delay", task="regression", examples=flights, label="minutes", features=["distance", "taxi"])

{RULE}

@delay.trainer
def train(data, params, seed):
    from sklearn.neighbors import RadiusNeighborsRegressor

    return RadiusNeighborsRegressor(radius=100.0, algorithm="brute").fit(data.X, data.y)
"""
POLICY: dict[str, Any] = {
    "project": "p",
    "serving": {"port": 0},
    "gates": {"accuracy": {"metric": "mae", "max": 20}, "robustness": None, "performance": {"p99": "10s"}},
    "rollout": {"promote_when": {"metric": "mae"}, "fallback": {"value": -1.0}},
}
DISTANCES = ((100, 300), (700, 1200), (1800, 3000))
"""Between them no flight is near enough: there the model gives NaN."""
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
MORNING, NIGHT = "2026-02-01T09:00:00Z", "2026-02-01T03:00:00Z"


def write_flights(path: Path) -> None:
    chance = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["leaves_at", "lands_at", "distance", "taxi", "minutes"])
        for hour in range(600):
            leaves_at = FIRST + timedelta(hours=hour)
            band, taxi = DISTANCES[hour % len(DISTANCES)], int(chance.integers(5, 40))
            distance = int(chance.integers(*band))
            minutes = distance / 100 + taxi + chance.normal()
            lands_at = leaves_at + timedelta(hours=3)
            table.writerow([leaves_at.isoformat(), lands_at.isoformat(), distance, taxi, f"{minutes:.3f}"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProject]:
    """A trained project whose champion serves."""
    made = GatewayProject(tmp_path_factory.mktemp("ruled"))
    (made.folder / "trimtab.yaml").write_text(yaml.safe_dump(POLICY))
    (made.folder / "definitions.py").write_text(DEFINITIONS)
    write_flights(made.folder / "flights.csv")
    typed("run", "-p", made.folder)
    made.start()
    yield made
    assert made.stop() == 0


def infer(project: GatewayProject, leaves_at: str | None, *rows: tuple[float, float]) -> httpx.Response:
    """Ask for the delays of flights, each of a distance and a taxi time."""
    places = {"distance": 0, "taxi": 1}
    inputs: list[dict[str, Any]] = [
        {"name": name, "shape": [len(rows)], "datatype": "FP64", "data": [row[place] for row in rows]}
        for name, place in places.items()
    ]
    if leaves_at is not None:
        inputs.append({"name": "leaves_at", "shape": [len(rows)], "datatype": "BYTES", "data": [leaves_at] * len(rows)})
    return httpx.post(f"{project.url()}/v2/models/delay/infer", json={"inputs": inputs})


def logged(project: GatewayProject, reply: httpx.Response) -> list[tuple[Any, ...]]:
    """Return the rows of the log that one request left."""
    identity = reply.json()["id"]
    return [
        (row["version"], row["role"], row["route"], row["served"], row["score"], row["error"])
        for row in project.rows()
        if row["prediction_id"].partition("/")[0] == identity
    ]


def test_the_model_answers_while_it_can(project: GatewayProject) -> None:
    reply = infer(project, MORNING, (2000, 10))
    assert reply.json()["model_version"] == "1"
    assert reply.json()["outputs"][0]["data"] == [pytest.approx(20 + 22, abs=5)]
    assert "fallback" not in reply.json()["parameters"]
    assert [row[:4] for row in logged(project, reply)] == [(1, "champion", "split", True)]


def test_the_rule_of_the_bundle_answers_for_a_champion_without_a_number(project: GatewayProject) -> None:
    reply = infer(project, NIGHT, (1500, 10), (500, 10))
    assert reply.status_code == 200, reply.text
    assert reply.json()["outputs"][0]["data"] == [31.0, 21.0]
    assert (reply.json()["model_version"], reply.json()["parameters"]["role"]) == ("0", "fallback")
    why = "model 'delay' version 1 gave nan; expected a number"
    assert reply.json()["parameters"]["fallback"] == f"version 1: {why}; fallback 'usual' answered"
    assert logged(project, reply) == [
        (1, "champion", "split", False, None, why),
        (1, "champion", "split", False, None, why),
        (0, "fallback", "fallback", True, 31.0, None),
        (0, "fallback", "fallback", True, 21.0, None),
    ]


def test_a_request_without_a_timestamp_is_of_now_for_the_rule_too(project: GatewayProject) -> None:
    reply = infer(project, None, (1500, 10))
    assert reply.json()["outputs"][0]["data"][0] in (30.0, 31.0)


def test_features_without_columns_go_on_to_the_fixed_score(project: GatewayProject) -> None:
    body = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1500.0, 10.0]}]}
    reply = httpx.post(f"{project.url()}/v2/models/delay/infer", json=body)
    assert reply.json()["outputs"][0]["data"] == [-1.0]
    assert "fallback 'usual' cannot answer: the request has no column 'distance'" in reply.text


def test_metrics_count_what_the_rule_answered(project: GatewayProject) -> None:
    assert infer(project, MORNING, (1500, 10)).status_code == 200
    text = httpx.get(f"{project.url()}/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith('trimtab_fallbacks_total{model="delay"')]
    assert float(line.rpartition(" ")[2]) >= 1
    assert any('role="fallback"' in line and 'version="0"' in line for line in text.splitlines())


def test_lineage_of_what_the_rule_answered_leads_to_the_bundle_that_has_it(project: GatewayProject) -> None:
    reply = infer(project, MORNING, (1500, 10))
    done = typed("lineage", "-p", project.folder, reply.json()["id"])
    assert done.returncode == 0, done.stderr
    assert "answered by fallback version 0: score 30" in done.stdout
    assert done.stdout.count("bundle delay/1") == 2


def test_a_changed_rule_serves_with_the_next_bundle_only(project: GatewayProject) -> None:
    # given a rule that was changed after the champion was packaged
    path = project.folder / "definitions.py"
    path.write_text(DEFINITIONS.replace("30.0", "44.0"))
    assert infer(project, MORNING, (1500, 10)).json()["outputs"][0]["data"] == [30.0]
    path.write_text(DEFINITIONS)


def test_a_broken_rule_is_refused_at_training(project: GatewayProject) -> None:
    path = project.folder / "definitions.py"
    path.write_text(DEFINITIONS.replace("np.where(distance > 1000", "np.where(distnce > 1000"))
    done = typed("run", "-p", project.folder, check=False)
    path.write_text(DEFINITIONS)
    assert done.returncode == 2
    assert "fallback 'usual' failed: NameError: name 'distnce' is not defined" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
