"""Files for Vertex AI: what the policy says, for all models. make test-exports parses them by the API's messages."""

from __future__ import annotations

import ast
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.target_facts import NONE, facts
from trimtab.errors import DefinitionError, PolicyError
from trimtab.targets.clouds import vertex_files

Split = Callable[[dict[str, float]], dict[str, int]]
GCP = "deploy: { gcp: { project: orders-prod-1, region: europe-west3 } }"
FULL = """
project: Order Values
deploy:
  image: registry.example.com/team/orders
  gcp:
    project: orders-prod-1
    region: us-central1
    bucket: models
    service_account: ml-runs
    endpoint_machine: n1-highmem-4
    endpoint_replicas: 2
    endpoint_max_replicas: 5
    training_machine: n1-highmem-8
"""


def test_machines_names_and_images_come_from_the_policy(tmp_path: Path) -> None:
    usual = vertex_files.files(facts(tmp_path, f"project: Order Values\n{GCP}\n"))
    model = json.loads(usual["deploy/vertex/order_value/model.json"])
    image = "europe-west3-docker.pkg.dev/orders-prod-1/order-values/order-values-gateway:${IMAGE_TAG}"
    assert model["containerSpec"]["imageUri"] == image
    settings = json.loads(usual["deploy/vertex/settings.json"])
    assert settings["bucket"] == "orders-prod-1-trimtab"
    assert settings["service_account"] == "order-values-vertex@orders-prod-1.iam.gserviceaccount.com"
    full = vertex_files.files(facts(tmp_path, FULL))
    asked = json.loads(full["deploy/vertex/size/deployed-model.json"])
    assert asked["serviceAccount"] == "ml-runs@orders-prod-1.iam.gserviceaccount.com"
    machines = {"machineSpec": {"machineType": "n1-highmem-4"}, "minReplicaCount": 2, "maxReplicaCount": 5}
    assert asked["dedicatedResources"] == machines
    pipeline = full["deploy/vertex/pipeline.py"]
    assert 'CPUS, MEMORY = "8", "52G"' in pipeline
    assert 'IMAGE = "registry.example.com/team/orders"' in pipeline
    assert '"/gcs/models/data"' in pipeline


def test_programs_are_python_and_name_all_models(tmp_path: Path) -> None:
    found = vertex_files.files(facts(tmp_path, FULL))
    for name in ("pipeline.py", "deploy.py"):
        ast.parse(found[f"deploy/vertex/{name}"])
    assert '{"order_value": ["orders"], "size": ["prices"]}' in found["deploy/vertex/pipeline.py"]
    assert found == vertex_files.files(facts(tmp_path, FULL))


def test_what_cannot_be_is_told_before_any_text(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"deploy\.gcp\.project: export vertex needs it"):
        vertex_files.files(facts(tmp_path, "project: p\n"))
    with pytest.raises(PolicyError, match=r"deploy\.gcp\.region: export vertex needs it"):
        vertex_files.files(facts(tmp_path, "project: p\ndeploy: { gcp: { project: orders-prod-1 } }\n"))
    with pytest.raises(PolicyError, match="project: '2nd try' begins with a digit"):
        vertex_files.files(facts(tmp_path, f"project: 2nd try\n{GCP}\n"))
    with pytest.raises(DefinitionError, match="no model to export to vertex"):
        vertex_files.files(facts(tmp_path, FULL, NONE))


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Return the function of deploy.py that makes percents of shares."""
    folder = tmp_path_factory.mktemp("vertex")
    for name, text in vertex_files.files(facts(folder, FULL)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    found: Split = runpy.run_path(str(folder / "deploy" / "vertex" / "deploy.py"))["split"]
    return found


@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=4))
def test_percents_are_whole_add_up_and_are_near(split: Split, weights: list[float]) -> None:
    asked = {f"v{place}": weight for place, weight in enumerate(weights)}
    found = split(asked)
    assert sum(found.values()) == 100
    for key, weight in asked.items():
        assert abs(found[key] - 100 * weight / sum(weights)) < 1
