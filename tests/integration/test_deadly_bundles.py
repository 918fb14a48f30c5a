"""Bundles that kill or hold up the process that loads them, in a real gateway: what serves goes on serving."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from integration.gateway_project import DEFINITIONS, GatewayProject, Make, infer
from kit.commands import typed
from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.gateway.configuration import running_gateway
from trimtab.records.record import Role
from trimtab.records.training import Bundle
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec, revision

ABORTS = "import os; os.abort()"
ENDS = "import os; os._exit(7)"
ABORTS_IN_WORKERS = """
import os
import threading

if threading.current_thread().name == "loading":
    os.abort()
"""
RAISES = "raise RuntimeError('out of order')"
HANGS = "import threading; threading.Event().wait()"
TRANSFORM_ABORTS = """
@tt.on_demand(inputs=["row"])
def double(row):
    import os
    os.abort()

delay = tt.Model("delay", task="binary", examples=flights, label="late", features=[double])
"""
SICK, GOOD = 2, 3
CONNECTIONS = 3


def register(project: GatewayProject, version: int, code: str) -> Bundle:
    """Register a version of the model whose own code does more than it should."""
    workspace = project.workspace
    folder = workspace.artifacts.staging()
    (folder / "code").mkdir()
    (folder / "code" / "definitions.py").write_text(f"{DEFINITIONS}\n{code}\n")
    spec = plain_spec("delay", ["row"], entity_keys=("who",))
    digest = pack_bundle(folder, lookup_graph((0.1, 0.8)), spec)
    record = Bundle(
        id=f"delay/{version}",
        created_at=workspace.now(),
        model="delay",
        version=version,
        run=spec.run,
        dataset=spec.dataset,
        gate_report="none",
        digest=digest,
        path=workspace.artifacts.publish(folder, f"bundles/delay/{version}"),
        features=spec.features,
        views=(),
        threshold=0.5,
    )
    workspace.metadata.put(record)
    return record


def revise(project: GatewayProject, number: int, roles: dict[int, tuple[Role, float]]) -> None:
    project.workspace.metadata.put(revision("delay", number, roles, created_at=project.workspace.now()))


def serving(project: GatewayProject, *, workers: int = 1) -> tuple[int, ...]:
    """Return the processes of all workers, once all of them serve."""

    def ready() -> tuple[int, ...] | None:
        found = running_gateway(project.workspace.run_folder)
        return found.workers if found and len(found.workers) == workers else None

    found: tuple[int, ...] = wait_for(ready, "all workers serve")
    return found


def troubles(project: GatewayProject) -> str:
    """Return what the status of the project tells of the model."""
    found = running_gateway(project.workspace.run_folder)
    return found.troubles.get("delay", "") if found else ""


def wait_for_trouble(project: GatewayProject, *words: str) -> None:
    wait_for(lambda: all(word in troubles(project) for word in words), f"the status tells of {words}")


def version_of(client: httpx.Client) -> str:
    reply = infer(client, 1)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["model_version"])


@contextmanager
def load(url: str) -> Iterator[list[str]]:
    """Predict all the time from several connections; yield what failed."""
    failures: list[str] = []
    stop = threading.Event()

    def run() -> None:
        try:
            with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
                while not stop.wait(0.01):  # without a pause it would take the processors from what is tested
                    version_of(client)
        except (httpx.HTTPError, AssertionError) as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=run) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (ABORTS, "died of signal 6 (SIGABRT)"),
        (ENDS, "ended with code 7"),
        (TRANSFORM_ABORTS, "died of signal 6 (SIGABRT)"),
    ],
)
def test_a_bundle_that_kills_its_process_takes_no_worker_along(make: Make, code: str, words: str) -> None:
    # given two workers under load
    project = make(rollout={"strategy": "blue-green"}, serving={"workers": 2})
    project.deploy(1)
    url = project.start()
    workers = serving(project, workers=2)
    with load(url) as failures, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        # when a bundle is deployed that no process outlives
        sick = register(project, SICK, code)
        project.rollouts.deploy(sick, cause="sick", reason="a test", by="tests")
        # then it is refused, and why is told wherever one looks
        wait_for_trouble(project, "revision 2: bundle delay/2", words)
        assert version_of(client) == "1"
        ready = client.get("/v2/health/ready")
        assert ready.status_code == 200
        wait_for(lambda: words in client.get("/v2/health/ready").text, "readiness tells it")
        wait_for(
            lambda: 'in_trouble{model="delay"} 2.0' in client.get("/metrics").text, "the metrics count both workers"
        )
        assert f"bundle delay/2 is refused, and tried again in 5 s: bundle delay/2: {told(words)}" in project.log()
        # and a good one is deployed as always
        project.deploy(GOOD)
        wait_for(lambda: version_of(client) == str(GOOD), "the good version answers")
        wait_for(lambda: troubles(project) == "", "the status tells of no trouble")
        wait_for(lambda: 'in_trouble{model="delay"} 0.0' in client.get("/metrics").text, "nor do the metrics")
    assert failures == []
    assert serving(project, workers=2) == workers


def told(words: str) -> str:
    return f"the process that tried to load it {words}"


def test_status_tells_which_bundle_is_refused_and_why(make: Make) -> None:
    project = make(rollout={"strategy": "blue-green"})
    project.deploy(1)
    project.start()
    sick = register(project, SICK, ABORTS)
    project.rollouts.deploy(sick, cause="sick", reason="a test", by="tests")
    wait_for_trouble(project, "SIGABRT")
    plain = typed("status", "-p", project.folder)
    assert "trouble model delay: revision 2: bundle delay/2: the process that tried to load it" in plain.stdout
    told = json.loads(typed("status", "-p", project.folder, "--json").stdout)
    assert "SIGABRT" in told["gateway"]["troubles"]["delay"]


def test_a_bundle_that_hangs_is_refused_when_its_time_is_over(make: Make) -> None:
    project = make(rollout={"strategy": "blue-green"}, serving={"load_timeout": "3s"})
    project.deploy(1)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        workers = serving(project)
        project.rollouts.deploy(register(project, SICK, HANGS), cause="sick", reason="a test", by="tests")
        wait_for_trouble(project, "bundle delay/2", "not loaded and warm within 3 s")
        assert version_of(client) == "1"
        assert serving(project) == workers


def test_nobody_waits_for_a_bundle_that_hangs(make: Make) -> None:
    # given a trial that hangs, longer than this test is patient
    project = make(rollout={"strategy": "blue-green"}, serving={"load_timeout": "1h"})
    project.deploy(1)
    with httpx.Client(base_url=project.start(TRIMTAB_LOG_LEVEL="INFO"), timeout=PATIENCE_S) as client:
        project.rollouts.deploy(register(project, SICK, HANGS), cause="sick", reason="a test", by="tests")
        wait_for(lambda: "bundle delay/2 is tried in a process of its own" in project.log(), "the trial begins")
        # when another revision comes, then it serves
        project.deploy(GOOD)
        wait_for(lambda: version_of(client) == str(GOOD), "the good version answers")
    assert project.stop() == 0


def test_a_trial_that_hangs_ends_with_its_gateway(make: Make) -> None:
    project = make(rollout={"strategy": "blue-green"}, serving={"load_timeout": "1h"})
    project.deploy(1)
    project.start(TRIMTAB_LOG_LEVEL="INFO")
    (worker,) = serving(project)
    assert project.process is not None
    gateway = psutil.Process(project.process.pid)
    project.rollouts.deploy(register(project, SICK, HANGS), cause="sick", reason="a test", by="tests")
    (trial,) = wait_for(lambda: [each for each in gateway.children() if each.pid != worker], "the trial runs")
    gateway.kill()
    wait_for(lambda: not trial.is_running() or trial.status() == psutil.STATUS_ZOMBIE, "the trial ends")


def test_a_bundle_that_raises_is_refused_as_one_that_dies(make: Make) -> None:
    project = make(rollout={"strategy": "blue-green"})
    project.deploy(1)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        workers = serving(project)
        project.rollouts.deploy(register(project, SICK, RAISES), cause="sick", reason="a test", by="tests")
        wait_for_trouble(project, "revision 2: bundle delay/2 cannot be loaded", "RuntimeError: out of order")
        assert version_of(client) == "1"
        assert serving(project) == workers


def test_a_bundle_that_dies_in_workers_alone_leaves_the_one_before(make: Make) -> None:
    # given a bundle that does no harm where it is tried, and ends the worker that loads it
    project = make(rollout={"strategy": "blue-green"})
    project.deploy(1)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        (worker,) = serving(project)
        project.rollouts.deploy(register(project, SICK, ABORTS_IN_WORKERS), cause="sick", reason="a test", by="tests")
        # then it is not given to the worker that takes its place, before it is tried again
        wait_for(lambda: serving(project) != (worker,), "another worker serves")
        wait_for(lambda: "while it loaded it" in troubles(project), "it is suspected")
        # and in the end, whatever it does, a good one serves
        project.deploy(GOOD)

        def good() -> bool:
            try:
                return version_of(client) == str(GOOD)
            except httpx.HTTPError:  # the worker has just died
                return False

        wait_for(good, "the good version answers")


def test_a_shadow_that_kills_its_process_takes_no_worker_along(make: Make) -> None:
    project = make()
    project.bundle(1)
    register(project, SICK, ABORTS)
    revise(project, 1, {1: ("champion", 100)})
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        workers = serving(project)
        revise(project, 2, {1: ("champion", 100), SICK: ("shadow", 0)})
        wait_for_trouble(project, "revision 2: bundle delay/2", "SIGABRT")
        assert infer(client, 1).json()["parameters"]["revision"] == 1
        assert serving(project) == workers


def first_start(project: GatewayProject) -> dict[str, Any]:
    """Start a gateway that loses a worker before it serves; return one of its answers."""
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        wait_for(lambda: infer(client, 1).status_code == 200, "it answers")
        return dict(infer(client, 1).json())


def test_a_start_with_a_champion_that_kills_its_process_serves_the_one_before(make: Make) -> None:
    project = make(rollout={"strategy": "blue-green"}, serving={"workers": 2})
    project.deploy(1)
    project.rollouts.deploy(register(project, SICK, ABORTS), cause="sick", reason="a test", by="tests")
    answer = first_start(project)
    assert (answer["model_version"], answer["parameters"]["revision"]) == ("1", 1)
    assert " died of signal 6 (SIGABRT) while it loaded it" in project.log()
    serving(project, workers=2)
    wait_for_trouble(project, "revision 2: bundle delay/2: the process that tried to load it died of signal 6")
    # and a good one is deployed as always
    project.deploy(GOOD)
    with httpx.Client(base_url=project.url(), timeout=PATIENCE_S) as client:
        wait_for(lambda: version_of(client) == str(GOOD), "the good version answers")


def test_a_start_with_a_shadow_that_kills_its_process_goes_on_without_it(make: Make) -> None:
    project = make()
    project.bundle(1)
    register(project, SICK, ABORTS)
    revise(project, 1, {1: ("champion", 100), SICK: ("shadow", 0)})
    answer = first_start(project)
    assert (answer["model_version"], answer["parameters"]["revision"]) == ("1", 1)
    wait_for_trouble(project, "revision 1 serves without its shadow: bundle delay/2", "SIGABRT")


def test_a_start_with_a_champion_that_hangs_serves_the_one_before(make: Make) -> None:
    project = make(rollout={"strategy": "blue-green"}, serving={"load_timeout": "3s"})
    project.deploy(1)
    project.rollouts.deploy(register(project, SICK, HANGS), cause="sick", reason="a test", by="tests")
    assert first_start(project)["model_version"] == "1"
    assert "bundle delay/2: worker 0 did not load it within 3 s (serving.load_timeout)" in project.log()


def test_a_folder_that_kills_its_process_ends_the_gateway_that_serves_it_alone(tmp_path: Path) -> None:
    # given a runtime that aborts when it is imported
    pack_bundle(tmp_path / "bundle", lookup_graph((0.1, 0.8)), plain_spec("delay", ["row"]))
    (tmp_path / "onnxruntime.py").write_text(ABORTS)
    command = [sys.executable, "-m", "trimtab.cli", "serve", str(tmp_path / "bundle"), "--port", "0"]
    variables = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    # then it says so, once
    assert done.returncode == 3
    assert "bundle delay/bundle: the process died of signal 6 (SIGABRT) while it loaded it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_start_with_nothing_but_a_bundle_that_kills_its_process_stays_up_for_the_next(make: Make) -> None:
    project = make(rollout={"strategy": "blue-green"})
    project.rollouts.deploy(register(project, 1, ABORTS), cause="sick", reason="a test", by="tests")
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        wait_for(lambda: "SIGABRT" in client.get("/v2/health/ready").text, "readiness tells why")
        (state,) = client.post("/v2/repository/index").json()
        assert (state["state"], "bundle delay/1" in state["reason"]) == ("UNAVAILABLE", True)
        assert infer(client, 1).status_code == 503
        project.deploy(2)
        wait_for(lambda: infer(client, 1).status_code == 200, "the next version answers")
