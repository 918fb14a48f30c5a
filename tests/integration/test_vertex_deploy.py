"""deploy.py of `trimtab export vertex` against a server with its part of the API: endpoints follow a rollout."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.commands import run_commands_here
from kit.target_facts import DEFINITIONS
from kit.vertex_service import Vertex, vertex
from trimtab.app.delivery import written_targets
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.records.record import Role
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

POLICY = """
project: Order Values
rollout: { strategy: canary, canary: { steps: [5%, 50%], min_requests: 0 } }
deploy: { gcp: { project: orders-prod-1, region: europe-west3 } }
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Vertex]]:
    (tmp_path / "trimtab.yaml").write_text(POLICY)
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    written_targets.write(written_targets.target_files(tmp_path, "vertex"))
    with vertex(tmp_path / "programs") as (found, url):
        path = f"{tmp_path / 'programs'}{os.pathsep}{os.environ['PATH']}"
        for name, value in {"VERTEX_ENDPOINT": url, "IMAGE_TAG": "v1", "PATH": path}.items():
            monkeypatch.setenv(name, value)
        yield found


def deploy(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    file = folder / "deploy" / "vertex" / "deploy.py"
    monkeypatch.setattr(sys, "argv", [str(file), *arguments])
    with monkeypatch.context() as patch:
        run_commands_here(patch)
        runpy.run_path(str(file), run_name="__main__")


def serve(project: Workspace, version: int, role: Role) -> None:
    bundle = register_bundle(
        project.metadata,
        project.artifacts,
        lookup_graph((version / 10, 0.75), 1),
        plain_spec("size", ("length",)),
        version=version,
        created_at=project.now(),
    )
    open_rollouts(project, "size").deploy(bundle, cause=f"c{version}", reason="a test", by="tests", role=role)


def traffic(service: type[Vertex]) -> dict[str, int]:
    """Return the percents by version, also of those without traffic."""
    (endpoint,) = service.endpoints.values()
    assert endpoint["displayName"] == "order-values-size"
    split = endpoint["trafficSplit"]
    return {each["displayName"].partition("-")[0]: split.get(each["id"], 0) for each in endpoint["deployedModels"]}


def test_an_endpoint_follows_a_rollout(
    service: type[Vertex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    project = open_workspace(tmp_path)
    rollouts = open_rollouts(project, "size")
    serve(project, 1, "champion")
    deploy(tmp_path, monkeypatch, "endpoints", "size")
    assert traffic(service) == {"v1": 100}
    serve(project, 2, "challenger")
    deploy(tmp_path, monkeypatch, "endpoints", "size")
    assert traffic(service) == {"v1": 95, "v2": 5}
    (new,) = [body for _, path, body in service.requests if path.endswith(":deployModel")][1:]
    assert new["trafficSplit"].pop("0") == 0  # it gets traffic when it is deployed, by the split alone
    assert list(new["trafficSplit"].values()) == [100]
    before = len(service.requests)
    rollouts.step(cause="further", reason="a test", by="tests")
    deploy(tmp_path, monkeypatch, "endpoints", "size")
    assert traffic(service) == {"v1": 50, "v2": 50}
    assert [method for method, _, _ in service.requests[before:]] == ["PATCH"]
    capfd.readouterr()
    deploy(tmp_path, monkeypatch, "endpoints", "size")
    assert len(service.requests) == before + 1
    assert "(unchanged)" in capfd.readouterr().out
    rollouts.promote(cause="evidence", reason="a test", by="tests")
    deploy(tmp_path, monkeypatch, "endpoints", "size")
    assert traffic(service) == {"v2": 100}
    assert len(next(iter(service.models.values()))) == 2
    copied = (tmp_path / "programs" / "gcloud.log").read_text()
    assert copied.count("storage cp --recursive") == 2
    assert "gs://orders-prod-1-trimtab/bundles/size/" in copied


def test_what_is_missing_is_told(service: type[Vertex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no model 'sise'; there are: order_value, size"):
        deploy(tmp_path, monkeypatch, "endpoints", "sise")
    with pytest.raises(SystemExit, match=r"trimtab history .*ended with exit code 3"):
        deploy(tmp_path, monkeypatch, "endpoints", "size")
    assert not service.requests
