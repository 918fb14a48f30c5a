"""What the bare repository runs after a push: python -m benchmarks.delivery.receive PLACE, in its post-receive hook.

It stands for the CI server: it checks the pushed commit out and runs the lines of the jobs `check` and `staging` of the
workflow that the commit has, one after another, until one fails. PLACE/stages.jsonl gets the seconds of each line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

JOBS = ("check", "staging")
SKIPPED = ("Install", "Install the linter")
"""The packages of this environment are used."""


def main(place: Path) -> int:
    """Run the jobs for the newest pushed commit; return the exit code of the line that failed, or 0."""
    commit = sys.stdin.read().split()[1]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    checkout = place / "checkouts" / commit
    begun = time.perf_counter()
    subprocess.run(["git", "clone", "--quiet", str(place / "bare.git"), str(checkout)], env=variables, check=True)
    note(place, "Checkout", begun)
    (workflow,) = (checkout / ".github" / "workflows").glob("trimtab-*[!k].yml")  # not that of the rollback
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    variables |= {"REASON": f"commit {commit}", "TRIMTAB_USER": "ada"}
    for job in JOBS:
        variables |= jobs[job]["env"]
        for step in jobs[job]["steps"]:
            if "run" not in step or step["name"] in SKIPPED:
                continue
            begun = time.perf_counter()
            done = subprocess.run(["sh", "-e", "-c", step["run"]], cwd=checkout, env=variables, check=False)
            note(place, step["name"], begun)
            if done.returncode:
                return done.returncode
    return 0


def note(place: Path, stage: str, begun: float) -> None:
    """Write how long a stage took."""
    with (place / "stages.jsonl").open("a") as file:
        file.write(json.dumps({"stage": stage, "seconds": time.perf_counter() - begun}) + "\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
