"""Rows that clients push are in the table once each, although the gateway and the ingest are killed again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.gateway_project import DEFINITIONS, GatewayProject
from kit.waiting import wait_for
from trimtab.app.project.workspace import open_workspace
from trimtab.stores.catalog import spool_folder
from trimtab.stores.spool import segments

CLICKS = """
clicks = tt.PushSource(
    "clicks", schema={"id": "integer", "at": "time", "page": "text"}, timestamp="at"
)
"""
KILLS = 2
REQUESTS = 60
CLIENTS = 3


@pytest.fixture
def project(tmp_path: Path) -> Any:
    project = GatewayProject(tmp_path / "p", serving={"workers": 2})
    (project.folder / "definitions.py").write_text(DEFINITIONS + CLICKS)
    project.workspace = open_workspace(project.folder)
    project.deploy(1)
    yield project
    project.stop()


class Client(threading.Thread):
    """Pushes requests of two rows each, and each one until it is answered."""

    def __init__(self, number: int, address: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._ids = range(number * REQUESTS, (number + 1) * REQUESTS)
        self._address = address
        self.done = 0
        self.sent_again = 0

    def run(self) -> None:
        for id_ in self._ids:
            rows = [{"id": 2 * id_ + n, "at": "2026-03-01T12:00:00Z", "page": f"p{id_}"} for n in range(2)]
            while not self._push(id_, rows):
                self.sent_again += 1
            self.done += 1

    def _push(self, id_: int, rows: list[dict[str, Any]]) -> bool:
        url = f"{self._address['url']}/v1/sources/clicks/push"
        try:
            reply = httpx.post(url, json={"rows": rows}, headers={"Idempotency-Key": f"r{id_}"}, timeout=5)
        except httpx.HTTPError:
            threading.Event().wait(0.05)
            return False
        assert reply.status_code in (202, 503), reply.text
        return reply.status_code == 202


def has_done(clients: list[Client], requests: int) -> bool:
    """Return True if so many requests are answered."""
    return sum(client.done for client in clients) >= requests


def ingest(project: GatewayProject) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "trimtab.cli", "ingest", "clicks", "--project", str(project.folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children at once, as a machine that fails does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_each_answered_row_is_in_the_table_once(project: GatewayProject) -> None:
    chance = random.Random(7)
    address = {"url": project.start()}
    clients = [Client(number, address) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for killed in range(1, KILLS + 1):
        reached = killed * CLIENTS * REQUESTS // (KILLS + 1)
        taking = ingest(project)
        wait_for(partial(has_done, clients, reached), "requests are answered")
        threading.Event().wait(chance.random())
        kill(taking)
        assert project.process is not None
        children = Path(f"/proc/{project.process.pid}/task/{project.process.pid}/children").read_text().split()
        for pid in (project.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        project.process.wait()
        address["url"] = project.start()
    for client in clients:
        client.join(300)
        assert not client.is_alive()
    assert sum(client.sent_again for client in clients) > 0
    last = ingest(project)
    assert last.wait() == 0, last.stderr.read() if last.stderr else b""
    rows = project.workspace.tables.scan("clicks").collect()
    assert sorted(rows["id"]) == list(range(2 * CLIENTS * REQUESTS))
    again = ingest(project)
    assert again.wait() == 0
    assert project.workspace.tables.scan("clicks").collect().height == rows.height
    left = [size for _, size in segments(spool_folder(project.workspace.root, "clicks"))]
    assert len(left) <= 2  # those that the two workers write to
