"""A slow shadow of a real gateway scores in a process of its own: killed, promoted, and gone at the end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

import httpx
import psutil
import pytest

from integration.gateway_project import GatewayProject, Make, infer
from kit.waiting import PATIENCE_S, wait_for
from trimtab.records.record import Role
from trimtab.testing.bundles import revision

PROGRAM = "trimtab.runtimes.shadow_worker"
CHAMPION, SHADOW = [0.1, 0.8], [0.3, 0.6]


def shadowed(make: Make) -> GatewayProject:
    """A project with a quick champion, version 1, and a slow shadow, version 2."""
    project = make()
    project.bundle(1, CHAMPION)
    project.bundle(2, SHADOW, slow=True)
    revise(project, 1, {1: ("champion", 100), 2: ("shadow", 0)})
    return project


def revise(project: GatewayProject, number: int, roles: Mapping[int, tuple[Role, float]]) -> None:
    project.workspace.metadata.put(revision("delay", number, roles, created_at=project.workspace.now()))


def beside(gateway: psutil.Process) -> list[psutil.Process]:
    """Return the processes of shadows below a gateway."""
    found = []
    for process in gateway.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if PROGRAM in process.cmdline():
                found.append(process)
    return found


def process_of(project: GatewayProject, *, other_than: int = 0) -> psutil.Process:
    """Return the one process of the shadow, once it runs below the gateway."""
    assert project.process is not None
    gateway = psutil.Process(project.process.pid)

    def one() -> psutil.Process | None:
        found = [process for process in beside(gateway) if process.pid != other_than]
        return found[0] if len(found) == 1 else None

    found: psutil.Process = wait_for(one, "the shadow has one process")
    return found


def gone(*processes: psutil.Process) -> bool:
    return all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes)


def ask(client: httpx.Client, count: int, version: str = "1") -> set[str]:
    """Predict so many times; return the ids."""
    ids = set()
    for number in range(count):
        reply = infer(client, number % 2)
        assert reply.status_code == 200, reply.text
        assert reply.json()["model_version"] == version
        ids.add(reply.json()["id"])
    return ids


def wait_for_comparisons(project: GatewayProject, ids: set[str]) -> None:
    """Wait until the shadow has scored all of these, and scored them right."""

    def scored() -> bool:
        rows = [row for row in project.rows() if row["role"] == "shadow" and row["prediction_id"] in ids]
        return {row["prediction_id"] for row in rows if row["error"] is None} == ids

    wait_for(scored, "the shadow scores everything")
    for row in project.rows():
        if row["role"] == "shadow":
            assert row["served"] is False
            assert row["error"] is not None or row["score"] == pytest.approx(SHADOW[int(row["features"][0])])


def test_a_slow_shadow_scores_aside_until_it_is_promoted(make: Make) -> None:
    # given a shadow that is too slow for the worker
    project = shadowed(make)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        wait_for_comparisons(project, ask(client, 8))
        first = process_of(project)
        if sys.platform == "linux":
            assert os.sched_getscheduler(first.pid) == os.SCHED_IDLE

        # when its process is killed, then nobody notices, and another one goes on
        first.kill()
        wait_for_comparisons(project, ask(client, 8))
        second = process_of(project, other_than=first.pid)

        # a test that pins its version is answered by it
        pinned = infer(client, 1, **{"x-trimtab-version": "2"})
        assert pinned.json()["outputs"][0]["data"] == pytest.approx([SHADOW[1]])

        # and when it is promoted it answers from the worker
        revise(project, 2, {2: ("champion", 100)})
        wait_for(lambda: infer(client, 0).json()["model_version"] == "2", "version 2 answers")
        promoted = ask(client, 3, "2")
        wait_for(lambda: gone(second), "the process of the shadow ends")
        rows = [row for row in project.rows() if row["prediction_id"] in promoted]
        assert {(row["role"], row["served"]) for row in rows} == {("champion", True)}
        assert project.process is not None
        assert beside(psutil.Process(project.process.pid)) == []
    assert project.stop() == 0


def test_no_process_of_a_shadow_outlives_its_gateway(make: Make) -> None:
    project = shadowed(make)
    # given a worker that is killed: its successor has a process of its own, and the old one ends
    project.start()
    orphan = process_of(project)
    worker = orphan.parent()
    assert worker is not None
    worker.kill()
    wait_for(lambda: gone(orphan), "the process ends with its worker")
    process_of(project, other_than=orphan.pid)

    # when all are told to end, then none is left
    assert project.process is not None
    gateway = psutil.Process(project.process.pid)
    family = gateway.children(recursive=True)
    assert project.stop() == 0
    assert gone(*family)

    # and neither when the supervisor is killed
    project.start()
    process_of(project)
    family = psutil.Process(project.process.pid).children(recursive=True)
    project.process.send_signal(signal.SIGKILL)
    wait_for(lambda: gone(*family), "everything ends with the supervisor")


def test_a_shadow_that_is_working_does_not_hold_up_the_end(make: Make) -> None:
    # given a shadow whose process does not answer
    project = shadowed(make)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        process = process_of(project)
        process.suspend()
        ask(client, 5)
        # when the gateway is told to end, then it does
        assert project.stop() == 0
    wait_for(lambda: gone(process), "the process ends")
