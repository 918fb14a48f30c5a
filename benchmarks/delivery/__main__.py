"""`python -m benchmarks.delivery [--months 12]`: from `git push` to an answer of the new version in staging.

The flights example lies in a bare repository whose post-receive hook runs the lines of the pipeline that `trimtab ci
github` writes. The first push trains version 1. Then a gateway of staging is started, and a push with another number of
rounds is timed from its begin until a prediction is answered by version 2. Installation of packages is left out: they
are those of this environment, as on a runner whose image has them.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from trimtab.app.project import templates

ROW = {
    "carrier": "UA", "origin": "EWR", "dest": "ORD", "scheduled_at": "2013-06-01T16:00:00Z",
    "distance": 719.0, "planned_minutes": 150.0,
}  # fmt: skip
PATIENCE_S = 3600.0


def main() -> None:
    """Print the stages of both pushes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery", description=__doc__)
    parser.add_argument(
        "--months", type=int, default=6, choices=range(2, 12), help="months of data that are trained on"
    )
    months: int = parser.parse_args().months
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        project = repository(place, months)
        show("first push, from nothing", pushed(place, project))
        policy = project / "trimtab.yaml"
        policy.write_text(policy.read_text().replace("max_iter: 60", "max_iter: 80"))
        git(project, "commit", "--quiet", "--all", "--message", "more rounds")
        with gateway(project) as url:
            assert answered_by(url) == "1"
            begun = time.perf_counter()
            push = subprocess.Popen(["git", "push", "--quiet", "origin", "main"], cwd=project, env=environment())
            while answered_by(url) != "2":
                assert push.poll() in (None, 0), "the push was refused"
                assert time.perf_counter() - begun < PATIENCE_S
                time.sleep(0.05)
            served = time.perf_counter() - begun
            assert push.wait() == 0
        show("push of a change", stages(place), served)


def repository(place: Path, months: int) -> Path:
    """Make the project with its pipeline, and the bare repository with its hook; return the project's folder."""
    project = place / "flights"
    templates.init("flights", project)
    file = project / "trimtab.yaml"
    policy = yaml.safe_load(file.read_text())
    policy["gates"]["performance"]["p99"] = "10s"  # other processes share this machine
    policy["environments"] = {"staging": {"folder": str(place / "staging")}}
    policy["deploy"] = {"ci": {"as_of": f"2013-{months + 1:02}-01"}}  # the data is committed
    file.write_text(yaml.safe_dump(policy, sort_keys=False))
    for file in sorted((project / "data" / "flights").glob("*.parquet"))[months:]:
        file.unlink()
    subprocess.run([trimtab(), "ci", "github", "--write", "-p", str(project)], check=True)
    git(place, "init", "--quiet", "--bare", "--initial-branch=main", "bare.git")
    hook = place / "bare.git" / "hooks" / "post-receive"
    root = Path(__file__).parents[2]
    hook.write_text(f"#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m benchmarks.delivery.receive {place} >&2\n")
    hook.chmod(0o755)
    git(project, "add", "--all", "--force", "data")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "the flights")
    git(project, "branch", "--move", "main")
    git(project, "remote", "add", "origin", str(place / "bare.git"))
    return project


def pushed(place: Path, project: Path) -> list[tuple[str, float]]:
    """Push, and return the stages with their seconds."""
    subprocess.run(["git", "push", "--quiet", "origin", "main"], cwd=project, env=environment(), check=True)
    return stages(place)


def stages(place: Path) -> list[tuple[str, float]]:
    """Return the stages that have been noted with their seconds, and forget them."""
    file = place / "stages.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    assert any(each["stage"] == "Deploy" for each in found), f"not deployed; the last stage was {found[-1]}"
    return [(each["stage"], each["seconds"]) for each in found]


@contextmanager
def gateway(project: Path) -> Iterator[str]:
    """Run the gateway of staging; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [trimtab(), "serve", "--env", "staging", "--port", str(port), "-p", str(project)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        begun = time.perf_counter()
        while not is_ready(url):
            assert process.poll() is None, "the gateway has ended"
            assert time.perf_counter() - begun < PATIENCE_S
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    """Return True if a gateway is ready."""
    try:
        return httpx.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def answered_by(url: str) -> str:
    """Return the version that answers a prediction."""
    inputs = [
        {"name": name, "shape": [1], "datatype": "FP64" if isinstance(value, float) else "BYTES", "data": [value]}
        for name, value in ROW.items()
    ]
    answer = httpx.post(f"{url}/v2/models/delay/infer", json={"inputs": inputs}, timeout=30.0).raise_for_status()
    return str(answer.json()["model_version"])


def show(title: str, found: list[tuple[str, float]], served: float | None = None) -> None:
    """Print a push, stage by stage."""
    print(f"\n{title}\n{'stage':<32}{'seconds':>9}")
    for stage, seconds in found:
        print(f"{stage:<32}{seconds:>9.1f}")
    print(f"{'all stages':<32}{sum(seconds for _, seconds in found):>9.1f}")
    if served is not None:
        print(f"from git push to served in staging: {served:.1f} s, {served / 60:.1f} minutes", flush=True)


def trimtab() -> str:
    """Return the path of the command."""
    return str(Path(sys.executable).parent / "trimtab")


def environment() -> dict[str, str]:
    """Return the variables of a push, with the commands of this environment."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def git(folder: Path, *arguments: str) -> None:
    """Run git with an author of its own."""
    author = ("-c", "user.name=ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *author, *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    main()
