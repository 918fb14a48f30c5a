"""Compiles and runs the pipeline of `trimtab export kubeflow` with the real kfp: python -m clients.with_kfp PYTHON.

PYTHON has kfp in an environment of its own (make test-exports). Two months of the flights pass the gates and serve; a
model that has learned nothing ends the pipeline at the gate, and what served before serves on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from kit.target_facts import DEFINITIONS
from trimtab.app.delivery import written_targets
from trimtab.app.project import templates
from trimtab.app.project.workspace import open_workspace
from trimtab.app.rollout.rollouts import open_rollouts

PIPELINE = "deploy/kubeflow/pipeline.py"
PRODUCTION = "environments: { production: { metadata: 'postgresql://app:${DB_PASSWORD}@db/trimtab' } }\n"
AS_OF = "2013-03-01"
FIT = ".fit(data.X, data.y)"
STAGES = ("ingest", "validate", "features", "train", "evaluate", "register", "deploy", "report")


def main(python: str) -> int:
    """Return 0 when kfp compiles the pipelines of two projects, and runs one of them as it should."""
    python = str(Path(python).absolute())  # not resolved: it is that of an environment
    with tempfile.TemporaryDirectory() as place:
        compile_several(python, Path(place) / "several")
        run_flights(python, Path(place) / "flights")
    print("kfp compiles the pipelines and runs the flights: green, and red at the gate")
    return 0


def compile_several(python: str, folder: Path) -> None:
    """Compile the pipeline of a project with two models: each stage of each is a task, and none is cached."""
    folder.mkdir()
    (folder / "trimtab.yaml").write_text(f"project: Order Values\n{PRODUCTION}", encoding="utf-8")
    (folder / "definitions.py").write_text(DEFINITIONS, encoding="utf-8")
    pipeline, platform = compiled(python, folder)
    executors = pipeline["deploymentSpec"]["executors"]
    commands = sorted(" ".join(each["container"]["command"][1:2]) for each in executors.values())
    assert commands == sorted([*STAGES[:2], *STAGES[2:] * 2]), commands
    tasks = [*pipeline["root"]["dag"]["tasks"].values()]
    tasks += [t for c in pipeline["components"].values() if "dag" in c for t in c["dag"]["tasks"].values()]
    assert not any(each.get("cachingOptions") for each in tasks)
    mounted = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(mounted) == len(executors)
    for each in mounted.values():
        places = {mount["mountPath"]: (mount["constant"], mount["subPath"]) for mount in each["pvcMount"]}
        assert places["/project/.trimtab"] == ("order-values-state", "state"), places
        (secret,) = each["secretAsEnv"]
        assert [key["envVar"] for key in secret["keyToEnv"]] == ["DB_PASSWORD"], secret


def run_flights(python: str, folder: Path) -> None:
    """Run two months of the flights, then a model that has learned from other rows' labels."""
    templates.init("flights", folder)
    for month in range(3, 13):
        (folder / f"data/flights/2013-{month:02}.parquet").unlink()
    compiled(python, folder)
    done = run(python, folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    before = serving(folder)
    assert before == ["delay/1"], before
    assert (folder / ".trimtab" / "report-delay.html").is_file()
    definitions = folder / "definitions.py"
    text = definitions.read_text(encoding="utf-8")
    assert FIT in text
    definitions.write_text(text.replace(FIT, ".fit(data.X, np.roll(data.y, 5000))"), encoding="utf-8")
    done = run(python, folder)
    assert done.returncode == 1, done.returncode
    assert "accuracy      fail" in done.stdout, done.stdout[-3000:]
    assert "register  delay" not in done.stdout
    assert serving(folder) == before


def compiled(python: str, folder: Path) -> list[dict[str, Any]]:
    """Write the export and return the documents that kfp makes of it."""
    written_targets.write(written_targets.target_files(folder, "kubeflow"))
    subprocess.run([python, PIPELINE], cwd=folder, check=True, capture_output=True)
    return list(yaml.safe_load_all((folder / "deploy/kubeflow/pipeline.yaml").read_text(encoding="utf-8")))


def run(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the pipeline here, with the trimtab of this environment."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [python, PIPELINE, "--local", ".", AS_OF]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def serving(folder: Path) -> list[str]:
    """Return the bundles that serve."""
    revision = open_rollouts(open_workspace(folder), "delay").current()
    return [] if revision is None else [each.bundle for each in revision.assignments]


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
