"""Runs of written pipelines: workflows by act; the lines of other servers one after another, each job in a checkout.

Actions (`uses:`) come from the internet and are left out, but for the checkout, which is a clone of the repository.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clients.orchestrated import example, trimtab
from kit.pipeline_lines import Lines
from kit.small_project import git
from trimtab.app.project.workspace import open_workspace
from trimtab.records.serving import Revision
from trimtab.targets.pipelines.stage_list import PASSED

SERVERS = ("github", "gitlab", "jenkins")
REFERENCE = re.compile(r"\$\{env\.(?P<name>\w+)(?: \?: env\.\w+)?(?: \?: '(?P<otherwise>\w+)')?\}|\$(?P<plain>[A-Z_]+)")


@dataclass(frozen=True)
class Repository:
    """A project in a repository of its own, whose staging and production lie beside it.

    Attributes:
        folder: the working tree, with the files of all servers.
        tools: folder of act's programs, in an environment that sees the packages of this one.
        logs: folder of what runs print.
    """

    folder: Path
    tools: Path
    logs: Path

    @property
    def variables(self) -> dict[str, str]:
        """Variables of a machine that runs jobs."""
        own = Path(sys.executable).parent
        path = os.pathsep.join((str(self.tools), str(own), os.environ["PATH"]))
        return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "CI": "true"}

    def commit(self, why: str) -> None:
        """Commit what has changed, as a person who pushes does."""
        git(self.folder, "add", "--all", "--force", "data")
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--message", why)

    def serving(self, environment: str) -> tuple[int, str | None]:
        """Return the number of the newest revision of an environment, and its champion."""
        with_stores = open_workspace(self.folder, environment)
        found = with_stores.metadata.find(Revision)
        with_stores.metadata.close()
        return (found[0].number, found[0].bundle_in("champion")) if found else (0, None)

    def act(self, event: str, log: str, *options: str, workflow: str = "") -> str:
        """Run a workflow by act, and return what it prints, which ends with its exit code."""
        name = f"trimtab-flight-delays{workflow}.yml"
        stripped = self.folder.parent / "stripped" / name
        stripped.parent.mkdir(exist_ok=True)
        stripped.write_text(_stripped((self.folder / ".github" / "workflows" / name).read_text(), self.folder))
        command = ["act", event, "-P", "ubuntu-latest=-self-hosted", "-W", str(stripped), *options]
        return self._logged(command, log, self.folder, self.variables)

    def run(self, lines: Lines, log: str, **given: str) -> tuple[int, str]:
        """Run the lines of one job in a new checkout, and those that run always. given: variables of the server.

        Returns the exit code of the first line that failed, else 0, and that line.
        """
        checkout = self.folder.parent / "checkout"
        shutil.rmtree(checkout, ignore_errors=True)
        git(self.folder.parent, "clone", "--quiet", str(self.folder), str(checkout))
        handed, passed = self.folder.parent / "handed", checkout / PASSED
        if handed.exists():
            shutil.copytree(handed, passed)
        server = {"GIT_COMMIT": git(checkout, "rev-parse", "HEAD"), "WORKSPACE_TMP": f"{checkout}@tmp", **given}
        server["CI_COMMIT_SHA"] = server["GIT_COMMIT"]
        variables = self.variables | server
        for name, text in lines.variables.items():
            variables[name] = REFERENCE.sub(lambda found: _value(found, variables), text)
        code, failed = 0, ""
        for line in lines.run:
            code = _ended(self._logged(["sh", "-e", "-c", line], log, checkout, variables, title=line))
            if code:
                failed = line
                break
        for line in lines.always:
            self._logged(["sh", "-e", "-c", line], log, checkout, variables, title=line)
        if passed.exists():
            shutil.copytree(passed, handed, dirs_exist_ok=True)
        return code, failed

    def _logged(
        self, command: Sequence[str], log: str, folder: Path, variables: Mapping[str, str], *, title: str = ""
    ) -> str:
        done = subprocess.run(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        text = f"{f'$ {title}' if title else ''}\n{done.stdout}\nexit code {done.returncode}\n"
        with (self.logs / log).open("a", encoding="utf-8") as file:
            file.write(text)
        print(f"{done.returncode:>3}  {log}  {title or ' '.join(command[:2])}", flush=True)
        return text


def flights_in_repository(place: Path, tools: Path, logs: Path) -> Repository:
    """Make the flights example with two months of data, in a repository with the files of all servers."""
    folder = example("flights", place / "flights")
    policy = yaml.safe_load((folder / "trimtab.yaml").read_text())
    policy["environments"] = {name: {"folder": str(place / name)} for name in ("staging", "production")}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    policy["deploy"] = {"python": python, "ci": {"as_of": "2013-03-01"}}  # the data is committed
    (folder / "trimtab.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    for server in SERVERS:
        trimtab(folder, "ci", server, "--write")
    git(folder, "branch", "--move", "main")
    found = Repository(folder, tools, logs)
    found.commit("two months of flights")
    return found


def _stripped(text: str, origin: Path) -> str:
    """Return a workflow without actions; the checkout is a clone, and files are handed on beside the repository."""
    whole: dict[str, Any] = yaml.safe_load(text)
    clone = {"name": "Checkout", "run": f"git clone --quiet {origin} ."}
    for job in whole["jobs"].values():
        handing = [_handed(step, origin.parent / "handed-by-act") for step in job["steps"]]
        job["steps"] = [clone, *(step for step in handing if "uses" not in step)]
    return yaml.safe_dump(whole, sort_keys=False)


def _handed(step: dict[str, Any], place: Path) -> dict[str, Any]:
    """Return a step that hands files on as a copy; other steps as they are."""
    folder = step.get("with", {}).get("path")
    if folder != PASSED:
        return step
    taken = "download-artifact" in step["uses"]
    source, target = (place, folder) if taken else (folder, place)
    return {"name": step["name"], "run": f"mkdir -p {target} && cp -r {source}/. {target}"}


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    return variables.get(found["name"] or found["plain"], found["otherwise"] or "")


def _ended(text: str) -> int:
    return int(text.rstrip().rpartition(" ")[2])
