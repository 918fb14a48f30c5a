"""A small project whose gateway runs as a user starts it, with bundles that look their scores up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import yaml
from onnx import helper, numpy_helper

from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

Make = Callable[..., "GatewayProject"]
DEFINITIONS = """
import trimtab as tt

flights = tt.FileSource("flights", "flights.parquet", timestamp="moment")
delay = tt.Model("delay", task="binary", examples=flights, label="late", features=["row"])


@delay.trainer
def train(data, params, seed):
    raise NotImplementedError
"""


class GatewayProject:
    """A project folder, its records, and its gateway process."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "definitions.py").write_text(DEFINITIONS)
        serving = {"port": 0, **sections.pop("serving", {})}
        (folder / "trimtab.yaml").write_text(yaml.safe_dump({"project": "p", "serving": serving, **sections}))
        self.workspace: Workspace = open_workspace(folder)
        self.rollouts: Rollouts = open_rollouts(self.workspace, "delay")
        self.process: subprocess.Popen[bytes] | None = None

    def bundle(self, version: int, scores: Sequence[float] = (0.1, 0.8), *, slow: bool = False) -> Bundle:
        """Register a version of the model."""
        return register_bundle(
            self.workspace.metadata,
            self.workspace.artifacts,
            slowed(lookup_graph(scores)) if slow else lookup_graph(scores),
            plain_spec("delay", ["row"], entity_keys=("who",)),
            version=version,
            created_at=self.workspace.now(),
        )

    def deploy(self, version: int, scores: Sequence[float] = (0.1, 0.8), *, slow: bool = False) -> None:
        """Bring a new version into service, as the policy's strategy says."""
        bundle = self.bundle(version, scores, slow=slow)
        self.rollouts.deploy(bundle, cause=f"deploy {version}", reason="a test", by="tests")

    def start(self, *options: str, **variables: str) -> str:
        """Start the gateway; return its URL when it is ready."""
        command = [sys.executable, "-m", "trimtab.cli", "serve", "--project", str(self.folder), *options]
        with (self.folder / "gateway.log").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | variables)
        return self.url()

    def url(self) -> str:
        """Return the URL of the running gateway."""

        def announced() -> str | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            found = running_gateway(self.workspace.run_folder)
            return url_of(found) if found and found.pid == self.process.pid else None

        return str(wait_for(announced, "the gateway announces itself"))

    def log(self) -> str:
        """Return what the gateway said."""
        return (self.folder / "gateway.log").read_text()

    def stop(self) -> int:
        """End the gateway; return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def rows(self) -> list[dict[str, Any]]:
        """Return the prediction log."""
        return list(self.workspace.predictions.read()[0].to_pylist())


def newest(project: GatewayProject) -> Revision:
    """Return the revision that serves."""
    found = project.rollouts.current()
    assert found is not None
    return found


def slowed(graph: bytes) -> bytes:
    """Return a lookup graph that multiplies large matrices before it gives its scores: some 0.2 s a call."""
    model = onnx.load_from_string(graph)
    size, times = 1000, 5
    made, nodes = model.graph, model.graph.node
    for name, value in (("nothing", 0.0), ("part", 1 / size)):
        made.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.float32), name))
    made.initializer.append(numpy_helper.from_array(np.array([size, size], dtype=np.int64), "size"))
    nodes[-1].output[0] = "looked up"
    nodes.extend(
        [
            helper.make_node("ReduceMax", ["X"], ["any"], keepdims=0),  # from the input, or it is computed beforehand
            helper.make_node("Mul", ["any", "nothing"], ["zero of it"]),
            helper.make_node("Add", ["zero of it", "part"], ["each"]),
            helper.make_node("Expand", ["each", "size"], ["matrix 0"]),
            *(helper.make_node("MatMul", [f"matrix {n}", "matrix 0"], [f"matrix {n + 1}"]) for n in range(times)),
            helper.make_node("ReduceMax", [f"matrix {times}"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "nothing"], ["zero again"]),
            helper.make_node("Add", ["looked up", "zero again"], ["probabilities"]),
        ]
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def infer(client: httpx.Client, *rows: float, who: str = "a", **headers: str) -> httpx.Response:
    """Ask for the scores of some rows of one entity."""
    inputs = [
        {"name": "row", "shape": [len(rows)], "datatype": "FP64", "data": list(rows)},
        {"name": "who", "shape": [len(rows)], "datatype": "BYTES", "data": [who] * len(rows)},
    ]
    return client.post("/v2/models/delay/infer", json={"inputs": inputs}, headers=headers)
