"""The pipeline for Kubeflow: a program that Python reads, of all models. make test-exports compiles and runs it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from kit.target_facts import NONE, facts
from trimtab.errors import DefinitionError
from trimtab.targets.clouds import kubeflow_files
from trimtab.targets.kubernetes import manifests

POLICY = """
project: Order Values
training: { memory: 2GiB }
environments: { production: { metadata: "postgresql://db/trimtab" } }
deploy: { image: registry.example.com/team/orders }
"""


def constants(text: str) -> dict[str, object]:
    """Return the constants that the program assigns literally."""
    found: dict[str, object] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def test_the_pipeline_has_the_models_and_the_limits_of_the_project(tmp_path: Path) -> None:
    text = kubeflow_files.files(facts(tmp_path, POLICY))["deploy/kubeflow/pipeline.py"]
    found = constants(text)
    assert found["MODELS"] == ["order_value", "size"]
    assert (found["CLAIM"], found["MEMORY"]) == ("order-values-state", "2148M")
    assert '"registry.example.com/team/orders-training:"' in text
    assert 'environment: str = "production"' in text
    assert "@" not in text.replace("@dsl.", "")


def test_tasks_see_the_folders_of_the_volume_that_the_chart_mounts(tmp_path: Path) -> None:
    """Compared with the chart's own pods: what a pipeline deploys has to reach the gateway."""
    policy = POLICY.replace("//db", "//app:${DB_PASSWORD}@db")
    of = facts(tmp_path, policy)
    found = constants(kubeflow_files.files(of)["deploy/kubeflow/pipeline.py"])
    (pod,) = [
        each["spec"]["template"]["spec"]
        for path, text in manifests.files(of).items()
        if "/base/" in path and path.endswith(".yaml")
        for each in yaml.safe_load_all(text)
        if each.get("kind") == "Deployment"
    ]
    mounts = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "state"]
    mounted = found["MOUNTS"]
    assert isinstance(mounted, dict)
    assert {f"/project/{path}": part for path, part in mounted.items()} == {
        each["mountPath"]: each["subPath"] for each in mounts
    }
    (named,) = [each for each in pod["containers"][0]["env"] if each["name"] == "DB_PASSWORD"]
    assert (found["SECRET"], found["SECRETS"]) == (named["valueFrom"]["secretKeyRef"]["name"], ["DB_PASSWORD"])
    (claim,) = [each for each in pod["volumes"] if each["name"] == "state"]
    assert found["CLAIM"] == claim["persistentVolumeClaim"]["claimName"]


def test_a_claim_of_trainings_holds_the_whole_project(tmp_path: Path) -> None:
    policy = POLICY.replace("training: {", "training: { claim: orders,")
    found = constants(kubeflow_files.files(facts(tmp_path, policy))["deploy/kubeflow/pipeline.py"])
    assert (found["CLAIM"], found["MOUNTS"]) == ("orders", {"": ""})


def test_the_same_policy_gives_the_same_text(tmp_path: Path) -> None:
    assert kubeflow_files.files(facts(tmp_path, POLICY)) == kubeflow_files.files(facts(tmp_path, POLICY))


def test_a_project_without_models_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no model to export to kubeflow"):
        kubeflow_files.files(facts(tmp_path, POLICY, NONE))
