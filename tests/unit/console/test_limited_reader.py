"""What a reader whose token holds for one model sees of the others: nothing, on every route that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.gateway_project import DEFINITIONS, GatewayProject
from kit.consoles import browser
from trimtab.app.gateway import tokens
from trimtab.app.overviews.reads.child_reader import close_readers
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.console.application import API, AREAS
from trimtab.testing.judged import MODEL, judged_signals, window_report

OTHER = '\nother = tt.Model("other", task="binary", examples=flights, label="late", features=["row"])\n'
VALUES = {"model": MODEL, "number": "1", "version": "1", "start": "2026-03-01T00:00Z", "id": "1", "panel": "loss"}
"""A value for each name in braces in the address of a route of a model."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A project with two models, of which one has records, and a console that asks for tokens."""
    folder: Path = tmp_path_factory.mktemp("limited") / "project"
    project = GatewayProject(folder, console={"authentication": "tokens"})
    (folder / "definitions.py").write_text(DEFINITIONS + OTHER)
    project.deploy(1)
    for day in range(2):
        window = window_report(day)
        project.workspace.metadata.put(window, *judged_signals(window, data_p_seq=0.001, money_per_day=700.0))
    yield open_workspace(folder)
    close_readers()
    project.workspace.metadata.close()


def bearer(workspace: Workspace, name: str, *models: str) -> dict[str, str]:
    """Make the token of a viewer; return the header that brings it."""
    made = tokens.create(workspace.metadata, workspace.clock, name, models=models, role="viewer", by="test")
    return {"authorization": f"Bearer {made[1]}"}


def routes() -> Iterator[tuple[str, str]]:
    """Yield method and address of each route of the console."""
    for area in AREAS:
        for prefix, router in ((API, area.api), ("", area.pages)):
            yield from ((next(iter(each.methods)), prefix + each.path) for each in router.routes)


def test_every_route_of_a_model_refuses_a_reader_of_another_one(guarded: Workspace) -> None:
    client, headers = browser(guarded), bearer(guarded, "limited", "other")
    own = [(method, path) for method, path in routes() if "{model}" in path]
    assert len(own) > 20
    for method, route in own:
        path = re.sub(r"{(\w+)}", lambda found: VALUES[found[1]], route)
        answer = client.request(method, path, headers=headers, json=None if method == "GET" else {})
        assert answer.status_code == 403, (method, path, answer.text[:200])
