"""Lets Helm lint and render the charts of `trimtab export kubernetes`: python -m clients.with_helm PYTHON.

PYTHON: with helm-python-sdk. A chart with its default values must give the objects of Kustomize's base, for a binary
model, a regression and several models; with other values what Kubernetes takes; and wrong values must be refused.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from kit.target_projects import KUBERNETES, SHAPES, facts_of
from trimtab.targets.kubernetes import manifests

CALLS = Path(__file__).parent / "helm_calls.py"
VERSION = "1.33"
OTHERS: dict[str, Any] = {
    "image": {"tag": "7", "pullPolicy": "Always"},
    "gateway": {"cpu": 2, "memory": "3Gi"},
    "ingress": {"enabled": True, "host": "other.example.com", "className": "nginx"},
    "networkPolicy": {"enabled": False},
    "storage": {"className": "fast"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
}
OUTSIDE = "several"
"""The project whose gateway asks for tokens; the charts of the others have no Ingress."""
WRONG: dict[str, dict[str, Any]] = {
    "replica": {"replica": 3},
    "memory": {"gateway": {"memory": "much"}},
    "ingress": {"ingress": {"enabled": "yes"}},
}


def main(python: Path) -> int:
    """Ask Helm about all charts at once."""
    with tempfile.TemporaryDirectory() as place:
        asked: list[tuple[str, str, dict[str, Any]]] = []
        bases: dict[str, list[Any]] = {}
        for shape in SHAPES:
            folder = Path(place, shape)
            facts = facts_of(shape, folder, KUBERNETES if shape == "several" else "")
            for path, text in manifests.files(facts).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text)
            bases[shape] = manifests.resources_of(facts)
            chart = str(folder / manifests.FOLDER / "chart")
            others = OTHERS if shape == OUTSIDE else {key: each for key, each in OTHERS.items() if key != "ingress"}
            asked += [(chart, facts.slug, {}), (chart, "other", others)]
            asked += [(chart, "other", values) for values in WRONG.values()]
        done = subprocess.run([python, CALLS], input=json.dumps(asked), capture_output=True, text=True, check=True)
        answers = iter(json.loads(done.stdout))
        for shape in SHAPES:
            plain, others = next(answers), next(answers)
            assert plain["lint"]["errors"] == [], plain["lint"]
            check_same(shape, objects(plain["rendered"]), bases[shape])
            check_others(objects(others["rendered"]), outside=shape == OUTSIDE)
            for name in WRONG:
                error = next(answers)["rendered"]["error"]
                assert name in error, error
            print(f"{shape}: {len(bases[shape])} objects, lint without errors, the same as Kustomize's base;", end=" ")
            print(f"other values pass Kubernetes {VERSION}, {len(WRONG)} wrong ones are refused")
    return 0


def objects(rendered: dict[str, str]) -> list[Any]:
    """Return the objects of templates; keys without a value are left out, as Kubernetes does."""
    assert "error" not in rendered, rendered
    return [without_nulls(each) for text in rendered.values() for each in yaml.safe_load_all(text) if each]


def without_nulls(part: Any) -> Any:
    """Return a part without keys that are null."""
    if isinstance(part, dict):
        return {key: without_nulls(value) for key, value in part.items() if value is not None}
    return [without_nulls(each) for each in part] if isinstance(part, list) else part


def check_same(shape: str, rendered: list[Any], base: list[Any]) -> None:
    """Check that two lists hold the same objects."""
    by_name = [{(each["kind"], each["metadata"]["name"]): each for each in found} for found in (rendered, base)]
    assert by_name[0].keys() == by_name[1].keys(), (shape, by_name[0].keys() ^ by_name[1].keys())
    for name, each in by_name[0].items():
        assert each == by_name[1][name], (shape, name, each, by_name[1][name])


def check_others(rendered: list[Any], *, outside: bool) -> None:
    """Check that other values are taken, and that Kubernetes takes the result."""
    kinds = {each["kind"] for each in rendered}
    assert "Ingress" in kinds or not outside
    assert "NetworkPolicy" not in kinds
    for each in rendered:
        if each["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(each, VERSION, strict=True)
    gateway = next(
        each for each in rendered if each["metadata"]["name"] == "other-gateway" and "template" in each["spec"]
    )
    pod = gateway["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"].endswith("-gateway:7")
    assert container["resources"]["limits"]["memory"] == "3Gi"
    assert pod["tolerations"] == OTHERS["tolerations"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
