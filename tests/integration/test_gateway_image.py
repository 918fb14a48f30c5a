"""A gateway works with the packages of its image alone: every other one is absent for it and its workers."""

from __future__ import annotations

import itertools
import shutil
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import pytest

from integration.gateway_project import Make, infer, newest
from kit.waiting import PATIENCE_S, wait_for
from trimtab.targets.docker.image_packages import GATEWAY

BLOCKER = """
import sys
from importlib.machinery import PathFinder

ABSENT = {absent!r}


class Present(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else PathFinder.find_spec(name, path, target)


sys.meta_path = [Present if finder is PathFinder else finder for finder in sys.meta_path]
"""


def blocking(folder: Path) -> str:
    """Write a sitecustomize that hides all packages that are not in the image; return its folder for PYTHONPATH."""
    allowed = {*GATEWAY, "trimtab"}
    absent = {
        module
        for module, packages in packages_distributions().items()
        if not {package.lower().replace("_", "-") for package in packages} & allowed and module != "google"
    }
    assert {"sklearn", "scipy", "mlflow", "polars", "pyarrow", "pandas", "dbos", "deltalake", "psutil"} <= absent
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKER.format(absent=sorted(absent)))
    return str(folder)


def test_a_gateway_serves_with_the_packages_of_its_image_alone(make: Make, tmp_path: Path) -> None:
    # given a project with a model, and a gateway that finds no other package than those of the image
    canary = {"steps": ["50%"], "hold": "100ms", "min_requests": 3}
    limits = {"error_rate": "5%", "p99": "20s", "constant_output": 1000}
    project = make(
        rollout={"strategy": "canary", "canary": canary, "rollback_when": limits},
        alerts={"channels": {"ops": {"url": "json://127.0.0.1:9/"}}},
    )
    project.deploy(1, scores=[0.1, 0.8])
    url = project.start(PYTHONPATH=blocking(tmp_path / "site"))
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        answer = infer(client, 1)
        # then it answers with the graph's score, and finds it in its log; in JSON and CSV
        assert answer.json()["outputs"][0]["data"][0] == pytest.approx(0.8), project.log()
        (name,) = answer.json()["parameters"]["prediction_ids"]
        explained = client.get(f"/v2/models/delay/predictions/{name}/explanation")
        assert "there are no rows to compare with" in explained.text, "the rows of the id were found without pyarrow"
        lines = {"content-type": "text/csv"}
        assert client.post("/invocations", content="row\n" + "1\n" * 200, headers=lines).status_code == 200
        refused = client.post(
            "/invocations", content=b"PAR1", headers={"content-type": "application/vnd.apache.parquet"}
        )
        assert (refused.status_code, "pyarrow" in refused.text) == (501, True)
        # and takes a label, lets the guard step a canary up to all of the traffic, and shows its counts
        assert client.post("/v2/models/delay/feedback", json={"id": name, "label": 1}).status_code == 200
        project.deploy(2, scores=[0.1, 0.3])
        names = itertools.count()

        def promoted() -> bool:
            return all(infer(client, 1, who=f"entity {next(names)}").is_success for _ in range(10)) and (
                newest(project).action == "promote"
            )

        wait_for(promoted, "the canary is promoted")
        assert "trimtab_predictions_total" in client.get("/metrics").text
    assert "No module named" not in project.log()


def test_a_gateway_makes_the_stores_of_a_fresh_volume(make: Make, tmp_path: Path) -> None:
    project = make()
    shutil.rmtree(project.workspace.root)
    url = project.start(PYTHONPATH=blocking(tmp_path / "site"))
    assert httpx.get(f"{url}/v2/health/ready").json() == {"live": True, "ready": True}
    wait_for(lambda: (project.workspace.root / "metadata.db").exists(), "the records have a store")
