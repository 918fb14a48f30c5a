"""What a reader whose token holds for one model sees of the others: nothing, on every route that there is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient

from kit.consoles import browser
from kit.decisions import decide
from kit.small_project import TwoRuns
from trimtab.app.gateway import tokens
from trimtab.app.overviews.reads.child_reader import close_readers
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.console.application import API, AREAS
from trimtab.records.alert_records import Alert
from trimtab.testing.judged import judged_signals, window_report

HIDDEN = "risk"
OTHER = '\nother = tt.Model("other", task="binary", examples=rows, label="bad", features=["amount"])\n'
MORE = (
    *(f"{prefix}/lineage/{id_}" for prefix in ("", API) for id_ in (f"{HIDDEN}/decision/1", "{run}", "rows@0")),
    f"{API}/experiments?after=zz",
    f"{API}/experiments?after={{run}}",
    f"{API}/experiments/diff?run={{run}}&run={{second}}",
    f"{API}/data?find=amount",
    f"{API}/decisions?format=csv",
    "/find?q={run}",
)
"""Addresses beyond those that each route has without a query."""
POSTED = {"reason": "a test", "verdict": "approve"}


@pytest.fixture(scope="module")
def guarded(two_runs: TwoRuns, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A project with two models, of which one has records of every kind, and a console that asks for tokens."""
    folder: Path = tmp_path_factory.mktemp("limited") / "project"
    shutil.copytree(two_runs.workspace.project.folder, folder)
    with (folder / "definitions.py").open("a") as file:
        file.write(OTHER)
    with (folder / "trimtab.yaml").open("a") as file:
        file.write("\nconsole: { authentication: tokens }\n")
    workspace = open_workspace(folder)
    for day in range(2):
        window = msgspec.structs.replace(window_report(day), id=f"{HIDDEN}/v1/{day}/matured", model=HIDDEN)
        workspace.metadata.put(window, *judged_signals(window, data_p_seq=0.001, money_per_day=700.0))
    decision = decide(workspace, model=HIDDEN)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    workspace.metadata.put(
        Alert(
            id=f"alert/{decision.id}", created_at=now, event="decision", model=HIDDEN, severity="severe",
            at=now, title=f"{HIDDEN} waits", figure="", reason="a test", path="", command="", refers_to=decision.id,
            channels=(),
        )
    )  # fmt: skip
    yield workspace
    close_readers()
    workspace.metadata.close()


def bearer(workspace: Workspace, name: str, *models: str) -> dict[str, str]:
    """Make the token of a viewer; return the header that brings it."""
    made = tokens.create(workspace.metadata, workspace.clock, name, models=models, role="viewer", by="test")
    return {"authorization": f"Bearer {made[1]}"}


def routes() -> Iterator[tuple[str, str]]:
    """Yield method and address of each route of the console but the endless one."""
    for area in AREAS:
        for prefix, router in ((API, area.api), ("", area.pages)):
            for each in router.routes:
                if not each.path.endswith("/events"):
                    yield next(iter(each.methods)), prefix + each.path


def addresses(runs: TwoRuns) -> Iterator[tuple[str, str]]:
    """Yield method and address of one request to each route, and of some more. A new name in braces needs a value."""
    values = {
        "model": HIDDEN, "number": "1", "version": "1", "start": "2026-03-01T00:00Z", "id": "1",
        "panel": "loss", "run": runs.first.id, "second": runs.second.id, "table": "rows", "view": "none",
        "name": "amount", "batch": "none", "verb": "drop",
    }  # fmt: skip
    for method, path in (*routes(), *(("GET", path) for path in MORE)):
        yield method, re.sub(r"{(\w+)(:path)?}", lambda found: values[found[1]], path)


def asked(client: TestClient, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    answer = client.request(
        method, path, headers=headers, json=None if method == "GET" else POSTED, follow_redirects=False
    )
    return answer.status_code, answer.text + answer.headers.get("location", "")


def test_no_route_shows_a_reader_of_one_model_another_one(guarded: Workspace, two_runs: TwoRuns) -> None:
    client, headers = browser(guarded), bearer(guarded, "limited", "other")
    for method, path in addresses(two_runs):
        status, text = asked(client, method, path, headers)
        if f"/models/{HIDDEN}" in path:
            assert status == 403, (method, path, status)
        if status != 403:
            assert status < 500, (method, path, text[:300])
            said = text.replace(path.partition("?")[0].removeprefix("/lineage/"), "")
            found = re.search(rf".{{60}}\b({HIDDEN}|{two_runs.first.id}|{two_runs.second.id})\b.{{60}}", said, re.S)
            assert found is None, (method, path, found and found[0])


def test_a_reader_of_all_models_sees_it_where_the_other_one_does_not(guarded: Workspace) -> None:
    client, headers = browser(guarded), bearer(guarded, "whole")
    for path in ("/", "/models", "/decisions", "/experiments", "/data", "/cost", "/system", "/lineage/rows@0"):
        assert re.search(rf"\b{HIDDEN}\b", client.get(path, headers=headers).text), path


def test_a_frame_counts_the_waits_of_the_models_of_its_reader(guarded: Workspace) -> None:
    client = browser(guarded)
    for name, models, counted in (("all", (), True), ("one", ("other",), False), ("own", (HIDDEN,), True)):
        shown = client.get("/lineage", headers=bearer(guarded, f"counts-{name}", *models)).text
        assert ("wait for a person" in shown) == counted, name


def test_the_refusal_of_an_answer_names_no_other_model(guarded: Workspace) -> None:
    made = tokens.create(guarded.metadata, guarded.clock, "ann", models=["other"], role="approver", by="test")
    headers = {"authorization": f"Bearer {made[1]}"}
    answer = browser(guarded).post("/api/v1/models/other/decisions/999/resolution", headers=headers, json=POSTED)
    assert answer.status_code == 422
    assert HIDDEN not in answer.text
