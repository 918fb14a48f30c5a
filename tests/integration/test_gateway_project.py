"""A project's gateway as a user runs it: with tokens, stepping canaries, in several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import msgspec
import pytest

from integration.gateway_project import GatewayProject, Make, infer, newest
from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.gateway.tokens import create, revoke
from trimtab.errors import ActionError
from trimtab.records.serving import Revision


def test_a_canary_steps_up_to_all_of_the_traffic(make: Make) -> None:
    canary = {"steps": ["10%", "50%"], "hold": "100ms", "min_requests": 3}
    project = make(rollout={"strategy": "canary", "canary": canary, "rollback_when": {"error_rate": "5%"}})
    project.deploy(1)
    project.deploy(2)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        count = 0

        def promoted() -> bool:
            nonlocal count
            for _ in range(10):
                count += 1
                assert infer(client, 1, who=f"entity {count}").status_code == 200
            return newest(project).action == "promote"

        wait_for(promoted, "the canary is promoted")
    actions = [each.action for each in reversed(project.workspace.metadata.find(Revision, model="delay"))]
    assert actions == ["deploy", "challenge", "step", "promote"]


def test_tokens_open_what_they_say_and_end_at_once(make: Make) -> None:
    project = make(serving={"authentication": "tokens"})
    project.deploy(1)
    metadata, clock = project.workspace.metadata, project.workspace.clock
    _, secret = create(metadata, clock, "app", verbs=["infer"], by="tests")
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        assert client.get("/v2/health/live").status_code == 200
        assert infer(client, 1).status_code == 401
        bearer = {"authorization": f"Bearer {secret}"}
        wait_for(lambda: infer(client, 1, **bearer).status_code == 200, "the token is known")
        assert client.post("/v2/models/delay/feedback", json={"id": "a", "label": 1}, headers=bearer).status_code == 403
        revoke(metadata, clock, "app", reason="a test", by="tests")
        wait_for(lambda: infer(client, 1, **bearer).status_code == 401, "the token is revoked")


def test_a_dead_worker_is_replaced_and_a_dead_supervisor_takes_its_workers_along(make: Make) -> None:
    project = make(serving={"workers": 2})
    project.deploy(1)
    url = project.start()

    def workers(*, but: tuple[int, ...] = ()) -> tuple[int, ...] | None:
        found = running_gateway(project.workspace.run_folder)
        return found.workers if found and len(found.workers) == 2 and found.workers != but else None

    first = wait_for(workers, "both workers are up")
    os.kill(first[0], signal.SIGKILL)
    now = wait_for(lambda: workers(but=first), "another worker has taken its place")
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        assert infer(client, 1).status_code == 200
    assert project.process is not None
    project.process.kill()
    project.process.wait()
    assert infer_again(project) == 200
    wait_for(lambda: not any(alive(pid) for pid in now), "the workers of the dead supervisor end")


def infer_again(project: GatewayProject) -> int:
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        return infer(client, 1).status_code


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_model_is_unloaded_and_loaded_on_all_workers(make: Make) -> None:
    project = make(serving={"workers": 2})
    project.deploy(1)
    url = project.start()

    def statuses() -> set[int]:
        found = set()
        for _ in range(8):
            with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
                found.add(infer(client, 1).status_code)
        return found

    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        assert client.post("/v2/repository/models/delay/unload").status_code == 200
        wait_for(lambda: statuses() == {404}, "no worker serves it")
        (state,) = client.post("/v2/repository/index").json()
        assert (state["name"], state["state"]) == ("delay", "UNAVAILABLE")
        assert client.post("/v2/repository/models/delay/load").status_code == 200
        wait_for(lambda: statuses() == {200}, "all workers serve it")


def test_a_damaged_bundle_is_refused_and_the_champion_goes_on(make: Make) -> None:
    project = make(rollout={"strategy": "blue-green"})
    project.deploy(1)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        bundle = project.bundle(2)
        graph = project.workspace.artifacts.open(bundle.path) / "model.onnx"
        graph.chmod(0o644)
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(bytes(content))
        with pytest.raises(ActionError, match=r"delay/2 is damaged.*content differs"):
            project.rollouts.deploy(bundle, cause="damaged", reason="a test", by="tests")
        # and when it was damaged after that was looked at
        deployed = newest(project)
        champion = msgspec.structs.replace(deployed.assignments[0], bundle=bundle.id, version=2)
        project.workspace.metadata.put(
            msgspec.structs.replace(deployed, id="delay#2", number=2, cause="damaged", assignments=(champion,))
        )
        wait_for(lambda: "content differs from the manifest" in project.log(), "the bundle is refused")
        assert infer(client, 1).json()["model_version"] == "1"
        ready = client.get("/v2/health/ready")
        assert ready.status_code == 200
        assert "content differs" in ready.text
    # and so it does after a start
    project.stop()
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        assert infer(client, 1).json()["model_version"] == "1"


def test_a_gateway_that_cannot_log_does_not_start(make: Make) -> None:
    project = make(serving={"drain": "1s"})  # so long a predecessor would be waited for
    project.deploy(1)
    project.start()
    again = subprocess.run(
        [sys.executable, "-m", "trimtab.cli", "serve", "--project", str(project.folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 3
    assert "already writes" in again.stderr
    assert "Traceback" not in again.stderr
