"""Imports what the real BentoML keeps and exports: python -m clients.with_bento PYTHON.

PYTHON has bentoml in an environment of its own (make test-clients). A model of LightGBM becomes a bundle that gives the
booster's scores, a pickle is listed as left out, and the limits of a built service become a draft of the policy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import lightgbm
import numpy as np
import yaml

from trimtab import settings
from trimtab.app.exchange.bento_import import read_bento
from trimtab.app.exchange.found_models import Imported, bring_in
from trimtab.app.project.own_models import open_own
from trimtab.app.project.workspace import open_workspace
from trimtab.records.training import Bundle

CALLS = Path(__file__).with_name("bento_calls.py")
UV = Path(__file__).parents[2] / ".bench" / "uv" / "bin"
"""BentoML asks for uv when it builds."""


def main(python: str) -> int:
    """Return 0 when everything that BentoML wrote was read as it should be."""
    random = np.random.default_rng(0)
    X = np.column_stack([random.gamma(2.0, 100.0, 200), random.integers(18, 80, 200)]).astype(np.float32)
    data = lightgbm.Dataset(X, X[:, 1], feature_name=["amount", "age"], params={"verbose": -1})
    booster = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, num_boost_round=5)
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        (place / "out").mkdir()
        booster.save_model(place / "booster.txt")
        path = os.pathsep.join([str(Path(sys.executable).parent), str(UV), settings.child_environment()["PATH"]])
        home = {"BENTOML_HOME": str(place / "home"), "BENTOML_DO_NOT_TRACK": "true", "PATH": path}
        command = [python, str(CALLS), str(place / "booster.txt"), str(place / "out")]
        subprocess.run(command, env=settings.child_environment(**home), check=True)
        for name in ("out/price.bentomodel", "home/models"):
            done = brought(place / name, place)
            assert [each.outcome for each in done[:3]] == ["drafted", "bundle", "revision"], done
            workspace = open_workspace(folder_of(place / name, place))
            (bundle,) = workspace.metadata.find(Bundle)
            scorer, _ = open_own(workspace, workspace.artifacts.open(bundle.path))
            np.testing.assert_allclose(scorer.score(X), booster.predict(X), atol=1e-5)
            scorer.close()
        assert any("is a pickle" in each.detail for each in done), done
        brought(place / "out" / "price.bento", place)
        policy = yaml.safe_load((folder_of(place / "out" / "price.bento", place) / "trimtab.yaml").read_text())
        assert policy["serving"] == {"workers": 2, "timeout": "15s"}, policy
        assert policy["deploy"]["kubernetes"] == {"cpu": "2", "memory": "1GiB"}, policy
    print("the models and settings that BentoML wrote are imported")
    return 0


def folder_of(path: Path, place: Path) -> Path:
    """Return the folder of the project that is drafted of a file or folder."""
    return place / f"project_{path.name.replace('.', '_')}"


def brought(path: Path, place: Path) -> list[Imported]:
    """Import a file or folder into a new project."""
    found = read_bento(path, place / f"scratch_{path.name}")
    return list(bring_in(folder_of(path, place), "local", found, names=(), trust=(), by="tests"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
