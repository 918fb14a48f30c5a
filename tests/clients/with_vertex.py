"""Compiles the pipeline of `trimtab export vertex` and checks all requests: python -m clients.with_vertex PYTHON.

PYTHON has kfp and google-cloud-aiplatform in an environment of its own (make test-exports). deploy.py talks to a server
with its part of the API; the messages of the real client then parse what it has sent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kit.target_facts import DEFINITIONS
from kit.vertex_service import vertex
from trimtab.app.delivery import written_targets
from trimtab.app.project.workspace import open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

CALLS = Path(__file__).with_name("vertex_calls.py")
POLICY = """
project: Order Values
deploy: { gcp: { project: orders-prod-1, region: europe-west3 } }
"""


def main(python: str) -> int:
    """Return the exit code of the checks."""
    python = str(Path(python).absolute())  # not resolved: it is that of an environment
    with tempfile.TemporaryDirectory() as place, vertex(Path(place) / "programs") as (service, url):
        folder = Path(place) / "project"
        folder.mkdir()
        (folder / "trimtab.yaml").write_text(POLICY, encoding="utf-8")
        (folder / "definitions.py").write_text(DEFINITIONS, encoding="utf-8")
        written_targets.write(written_targets.target_files(folder, "vertex"))
        path = os.pathsep.join([f"{place}/programs", str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "VERTEX_ENDPOINT": url, "IMAGE_TAG": "v1"}
        subprocess.run([python, "deploy/vertex/pipeline.py"], cwd=folder, env=environment, check=True)
        for version in (1, 2, 3):
            roll(folder, version)
            subprocess.run(
                [python, "deploy/vertex/deploy.py", "endpoints", "size"], cwd=folder, env=environment, check=True
            )
        subprocess.run(
            [python, "deploy/vertex/deploy.py", "submit", "2026-01-01"], cwd=folder, env=environment, check=True
        )
        requests = Path(place) / "requests.json"
        requests.write_text(json.dumps(service.requests), encoding="utf-8")
        return subprocess.run(
            [python, str(CALLS), str(folder / "deploy/vertex"), str(requests)], check=False
        ).returncode


def roll(folder: Path, version: int) -> None:
    """Make a bundle champion, or from the second on challenger; the third promotes the second before."""
    workspace = open_workspace(folder)
    rollouts = open_rollouts(workspace, "size")
    if version == 3:
        rollouts.promote(cause="evidence", reason="a test", by="tests")
    bundle = register_bundle(
        workspace.metadata,
        workspace.artifacts,
        lookup_graph((version / 10, 0.75), 1),
        plain_spec("size", ("length",)),
        version=version,
        created_at=workspace.now(),
    )
    rollouts.deploy(bundle, cause=f"c{version}", reason="a test", by="tests", role="champion" if version == 1 else None)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
