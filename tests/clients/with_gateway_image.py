"""Installs what the gateway's image installs, measures it, and asks it: python -m clients.with_gateway_image.

There is no container engine in tests, so the environment that the Dockerfile makes is made here by the same two steps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions
from pathlib import Path

import httpx
import numpy as np
from catboost import CatBoostRegressor
from lightgbm import LGBMRegressor
from xgboost import XGBRegressor

from integration.gateway_project import GatewayProject, infer
from kit.target_projects import REPOSITORY, facts_of
from kit.waiting import PATIENCE_S
from trimtab.targets.docker import dockerfiles
from trimtab.targets.docker.image_packages import GATEWAY, LIBRARIES, OPTIONS, RUNTIMES, pinned
from trimtab.training.native_files import native_file

MOST_PACKAGES, MOST_MB = 35, 350
TRAINERS = {"scikit-learn", "scipy", "mlflow-skinny", "polars", "pandas", "skl2onnx", "fairlearn", "dbos", "pyarrow"}
SCORE = """
import sys
from pathlib import Path
import numpy as np
from trimtab.bundle.scorer import Options
from trimtab.runtimes.opening import open_model
model = open_model(Path(sys.argv[2]), runtime=sys.argv[1], task="regression", options=Options())
print(model.score(np.full((1, 2), 0.5, dtype=np.float32))[0])
"""


def main() -> int:
    """Measure the image of the flights example, serve from it, and try each library that an image may hold."""
    with tempfile.TemporaryDirectory() as place:
        facts = facts_of("flights", Path(place, "flights"))
        wanted, site = Path(place, "gateway.txt"), Path(place, "image")
        wanted.write_text(dockerfiles.requirements(facts, "gateway"))
        python = environment(site, ["--no-deps", "--requirement", str(wanted)])
        uv("pip", "install", "--python", str(python), "--no-deps", str(REPOSITORY))
        subprocess.run([python, "-m", "compileall", "-q", str(site / "lib")], check=True)  # as pip does
        measure(site)
        check_pins(site)
        serve(python, Path(place, "project"))
        check_libraries(Path(place), facts.constraints)
    return 0


def environment(folder: Path, what: list[str]) -> Path:
    """Make an environment with some packages; return its Python."""
    uv("venv", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    uv("pip", "install", "--python", str(python), *what)
    return python


def uv(*words: str) -> None:
    """Run uv."""
    program = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    done = subprocess.run([program, "--quiet", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def measure(folder: Path) -> None:
    """Print what an environment holds, and check the limits."""
    (packages,) = folder.glob("lib/python*/site-packages")
    names = sorted(each.metadata["Name"].lower() for each in distributions(path=[str(packages)]))
    size = sum(path.stat().st_blocks * 512 for path in packages.rglob("*") if path.is_file()) / 2**20
    print(f"{len(names)} packages, {size:.0f} MB: {', '.join(names)}")
    assert len(names) <= MOST_PACKAGES
    assert size <= MOST_MB
    assert not TRAINERS & {*names}


def check_pins(folder: Path) -> None:
    """Check that an installed Trimtab brings the versions of the release."""
    (found,) = folder.glob("lib/python*/site-packages/trimtab/constraints.txt")
    assert found.read_bytes() == (REPOSITORY / "constraints.txt").read_bytes()


def serve(python: Path, folder: Path) -> None:
    """Start a gateway as the image does, on a port of this machine, and ask it for a prediction."""
    project = GatewayProject(folder)
    project.deploy(1, scores=[0.1, 0.8])
    began = time.monotonic()
    project.process = subprocess.Popen([python, "-m", "trimtab.cli", "serve", "--project", str(folder)])
    try:
        with httpx.Client(base_url=project.url(), timeout=PATIENCE_S) as client:
            started = time.monotonic() - began
            answer = infer(client, 1)
            assert answer.status_code == 200, answer.text
            score = answer.json()["outputs"][0]["data"][0]
            assert abs(score - 0.8) < 1e-6, score
            print(f"ready after {started:.2f} s; score of row 1: {score:.3f}")
    finally:
        assert project.stop() == 0


def check_libraries(folder: Path, constraints: str) -> None:
    """Import each library with the packages that are listed for it, and score by those that have files of their own."""
    models = model_files(folder)
    every = {**LIBRARIES, **OPTIONS}
    for module, packages in every.items():
        python = environment(folder / module, ["--no-deps", *pinned(sorted({*GATEWAY, *packages}), constraints)])
        ask(python, f"import {module}")
        if module in models:
            path, expected = models[module]
            score = float(ask(python, SCORE, module, str(path)))
            assert abs(score - expected) < 1e-6, (module, score, expected)
    print(f"imported with the packages that are listed for them: {', '.join(every)}; scored: {', '.join(models)}")


def model_files(folder: Path) -> dict[str, tuple[Path, float]]:
    """Return a small regression of each library with a file of its own, and its score of (0.5, 0.5)."""
    X = np.random.default_rng(0).random((200, 2)).astype(np.float32)
    estimators = {
        "catboost": CatBoostRegressor(iterations=5, verbose=False, allow_writing_files=False, thread_count=1),
        "lightgbm": LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1),
        "xgboost": XGBRegressor(n_estimators=5, n_jobs=1),
    }
    assert {*estimators} == {*RUNTIMES}
    found = {}
    for module, estimator in estimators.items():
        estimator.fit(X, X[:, 0] * 3)
        native = native_file(estimator, features=2)
        assert native is not None
        path = folder / native.name
        path.write_bytes(native.content)
        found[module] = (path, float(estimator.predict(np.full((1, 2), 0.5, dtype=np.float32))[0]))
    return found


def ask(python: Path, code: str, *words: str) -> str:
    """Run code with the sources of Trimtab; return what it prints."""
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, "-c", code, *words], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
