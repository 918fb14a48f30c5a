"""Triggers over HTTP with a loop that is killed: each event that was answered is acted on once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import polars as pl

from integration.gateway_project import GatewayProject, Make
from kit.commands import trimtab
from kit.waiting import wait_for
from trimtab.app.project.workspace import open_workspace
from trimtab.records.control import Decision, RetrainRequest, TriggerEvent, TriggerOutcome

LOOP = """
import sys, time
from pathlib import Path
from trimtab.app.loop.steering import Steering
from trimtab.app.project.workspace import open_workspace
loop = Steering(open_workspace(Path(sys.argv[1])))
loop.launch()
loop.step()
print("steers", flush=True)
while True:
    if not loop.step():
        time.sleep(0.005)
"""
KILLS, EVENTS = 2, 4


def loop(folder: Path) -> subprocess.Popen[str]:
    """Start a loop; return it when it steers."""
    with (folder / "loop.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(folder)], stdout=subprocess.PIPE, stderr=output, text=True
        )
    assert process.stdout is not None
    assert process.stdout.readline() == "steers\n", (folder / "loop.log").read_text()
    return process


def add_rows(project: GatewayProject, name: str) -> None:
    times = np.datetime64("2026-01-01", "us") + np.arange(40) * np.timedelta64(len(name), "h")
    moment = pl.Series("moment", times).dt.replace_time_zone("UTC")
    frame = pl.DataFrame({"moment": moment, "row": [float(n) for n in range(40)], "late": [0, 1] * 20})
    (project.folder / "rows").mkdir(exist_ok=True)
    frame.write_parquet(project.folder / "rows" / f"{name}.parquet")


def test_a_loop_that_is_killed_acts_on_each_event_once(make: Make) -> None:
    rules = {"prices": {"on": "webhook"}, "rows": {"on": "webhook", "run": "pipeline"}}
    project = make(triggers=rules)
    definitions = project.folder / "definitions.py"
    definitions.write_text(definitions.read_text().replace('"flights.parquet"', '"rows"'))
    project.deploy(1)
    add_rows(project, "a")
    url, sent = project.start(), []
    reply = httpx.post(f"{url}/v1/triggers/prices", json={"id": "before"})
    assert (reply.status_code, reply.json()["accepted"]) == (202, True)
    assert reply.json()["detail"].startswith("kept: the loop of `trimtab up` does not run, or has not begun yet")
    sent.append("prices/before")
    for kill in range(KILLS):
        process = loop(project.folder)
        add_rows(project, "a" * (2 + kill))
        for number in range(EVENTS):
            name = "rows" if number % 2 else "prices"
            reply = httpx.post(f"{url}/v1/triggers/{name}", json={"id": f"{kill}.{number}", "reason": "new prices"})
            assert (reply.status_code, reply.json()["detail"]) == (202, "the loop acts on it")
            sent.append(f"{name}/{reply.json()['id']}")
        process.kill()  # SIGKILL, wherever it is
        process.wait()
        retried = httpx.post(f"{url}/v1/triggers/prices", json={"id": f"{kill}.0", "reason": "new prices"})
        assert retried.status_code == 202
    process = loop(project.folder)
    metadata = open_workspace(project.folder).metadata

    def ended() -> bool:
        assert process.poll() is None
        return metadata.count(TriggerOutcome) >= len(sent)

    wait_for(ended, "each event has an outcome")
    process.kill()
    process.wait()
    outcomes = metadata.find(TriggerOutcome)
    assert Counter(one.event.removeprefix("trigger/") for one in outcomes) == Counter(sent)
    assert {one.state for one in outcomes} == {"done"}
    assert len(metadata.find(TriggerEvent)) == len(sent)
    assert sorted(request.key for request in metadata.find(RetrainRequest)) == sorted(s.replace("/", ":") for s in sent)
    decided = [decision.window for decision in metadata.find(Decision)]
    assert len(decided) == len(set(decided))
    version = project.workspace.tables.version("flights")
    assert project.workspace.tables.scan("flights", version=version).collect().height == 40 * (1 + KILLS)
    shown = trimtab("trigger", "show", "prices", "--id", "0.0", "-p", project.folder).stdout
    assert "asked to retrain delay" in " ".join(shown.split())
