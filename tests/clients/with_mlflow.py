"""Reads a project with MLflow's own client, server and pages: python -m clients.with_mlflow PYTHON [FOLDER].

PYTHON has the whole of mlflow in an environment of its own (make test-clients); Trimtab needs its client only. With
FOLDER, Chromium takes pictures of the pages and keeps them there.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from kit.small_project import make_project, open_small, trained
from kit.waiting import PATIENCE_S, wait_for
from trimtab import settings
from trimtab.app.exchange.mlflow_push import push
from trimtab.app.project.mlflow_access import open_registry
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import pipeline

CALLS, PUSHED = Path(__file__).with_name("mlflow_calls.py"), Path(__file__).with_name("mlflow_pushed_calls.py")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
PAGE_MS = 60_000
"""Time that a page has to load its parts."""


def main(python: str, pictures: Path | None = None) -> int:
    """Return the exit code of the client, or 1 if a page or the model's server does not answer as it should."""
    with tempfile.TemporaryDirectory() as place:
        workspace = open_small(make_project(Path(place) / "project"))
        run = trained(workspace)
        bundle = pipeline.register(workspace, run, pipeline.evaluate(workspace, run))
        pipeline.deploy(workspace, bundle, cause="test", reason="a test", by="tests", role="champion")
        name = open_registry(workspace).name("risk")
        environment = settings.child_environment(MLFLOW_TRACKING_URI=workspace.tracking_uri, **QUIET)
        code = subprocess.run([python, str(CALLS), name, run.id], env=environment, check=False).returncode
        if code:
            return code
        ask_served_model(Path(python), f"models:/{name}@champion", workspace)
        look_at_pages(Path(python), workspace, run.id, name, pictures)
        read_pushed(Path(python), workspace, name, Path(place) / "other")
    print("MLflow's client, server and pages read the project, and another server what it pushed")
    return 0


def ask_served_model(python: Path, uri: str, workspace: Workspace) -> None:
    """Let `mlflow models serve` answer for the champion, in MLflow's own form."""
    command = ("models", "serve", "--model-uri", uri, "--env-manager", "local")
    with running(python, workspace, *command, ready="/ping") as url:
        rows = {"dataframe_split": {"columns": ["amount", "age"], "data": [[20.0, 30.0], [900.0, 30.0]]}}
        answer = httpx.post(f"{url}/invocations", json=rows, timeout=60)
        answer.raise_for_status()
        low, high = answer.json()["predictions"]
        assert low < high, answer.text


def look_at_pages(python: Path, workspace: Workspace, run: str, name: str, pictures: Path | None) -> None:
    """Ask `mlflow server` for what its pages show, and take pictures of them."""
    with running(python, workspace, "server", "--workers", "1", ready="/health") as url:
        found = httpx.get(f"{url}/ajax-api/2.0/mlflow/runs/get", params={"run_id": run}, timeout=60).json()["run"]
        model = found["outputs"]["model_outputs"][0]["model_id"]
        listed = httpx.get(
            f"{url}/ajax-api/2.0/mlflow/artifacts/list", params={"run_id": run, "path": "plots"}, timeout=60
        ).json()["files"]
        assert {"plots/roc.svg", "plots/importance.svg"} <= {file["path"] for file in listed}, listed
        picture = httpx.get(f"{url}/get-artifact", params={"run_id": run, "path": "plots/roc.svg"}, timeout=60)
        assert picture.content.startswith(b"<svg"), picture.content[:80]
        experiment = found["info"]["experiment_id"]
        pages = {
            "runs": f"/#/experiments/{experiment}/runs",
            "run": f"/#/experiments/{experiment}/runs/{run}",
            "plot": f"/#/experiments/{experiment}/runs/{run}/artifacts/plots/roc.svg",
            "logged_model": f"/#/experiments/{experiment}/models/{model}",
            "registered_model": f"/#/models/{name}",
        }
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if pictures is None or chromium is None:
            return
        pictures.mkdir(parents=True, exist_ok=True)
        for page, path in pages.items():
            taken = pictures.absolute() / f"{page}.png"
            options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1500,950", f"--screenshot={taken}")
            command = [chromium, *options, f"--virtual-time-budget={PAGE_MS}", f"{url}{path}"]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            print(taken)


def read_pushed(python: Path, workspace: Workspace, name: str, place: Path) -> None:
    """Push the project to a server of another system, twice, and let a client of that server load the champion."""
    place.mkdir()
    stores = ("--backend-store-uri", f"sqlite:///{place}/other.db", "--artifacts-destination", str(place / "files"))
    with running(python, workspace, "server", "--workers", "1", *stores, ready="/health") as url:
        first = list(push(workspace, url, models=["risk"], everything=True))
        again = list(push(workspace, url, models=["risk"], everything=True))
        assert [each.state for each in first] == ["new"] * len(first), first
        assert [each.state for each in again] == ["known"] * len(first), again
        environment = settings.child_environment(MLFLOW_TRACKING_URI=url, **QUIET)
        subprocess.run([python, str(PUSHED), name, "risk"], env=environment, check=True)


@contextmanager
def running(python: Path, workspace: Workspace, *command: str, ready: str) -> Iterator[str]:
    """Run a command of MLflow that serves, until the block ends; give its URL. ready: path that answers 200."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    own = command[0] == "server" and "--backend-store-uri" not in command
    extra = ["--backend-store-uri", workspace.tracking_uri] if own else []
    path = f"{python.absolute().parent}{os.pathsep}{settings.child_environment()['PATH']}"
    process = subprocess.Popen(
        [python.with_name("mlflow"), *command, *extra, "--port", str(port)],
        env=settings.child_environment(MLFLOW_TRACKING_URI=workspace.tracking_uri, PATH=path, **QUIET),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )

    def answers() -> bool:
        assert process.poll() is None, f"mlflow {' '.join(command)} ended"
        try:
            return httpx.get(f"{url}{ready}").is_success
        except httpx.TransportError:
            return False

    try:
        wait_for(answers, f"mlflow {command[0]} answers")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # a server has started others
        process.wait(PATIENCE_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None))
