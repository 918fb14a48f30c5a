"""The lines of a shell that written pipelines run, by job, read back from the files of each server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

STAGE = re.compile(r"^    stage\('(?P<title>.*)'\) \{$")
SHELL = re.compile(r"^ +sh '(?P<line>(?:[^'\\]|\\.)*)'$")
VARIABLE = re.compile(r"^        (?P<name>\w+) = (?P<value>.+)$")
SECRET = re.compile(r"credentials\('(?P<name>\w+)'\)")
OF_JENKINS = re.compile(r"^(?P<quote>['\"])(?P<text>.*)(?P=quote)$")


@dataclass
class Lines:
    """The lines of one job. always: also after one that failed. variables: of its shell, as the file has them."""

    run: list[str] = field(default_factory=list)
    always: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


def of_github(text: str) -> dict[str, Lines]:
    """Return the lines of each job by its name for people, without the installation."""
    whole, found = yaml.safe_load(text), {}
    for job in whole["jobs"].values():
        steps = [step for step in job["steps"] if "run" in step and step.get("name") != "Install"]
        always = [step["run"] for step in steps if "if" in step]
        variables = {**whole["env"], **job["env"]}
        found[job["name"]] = Lines([step["run"] for step in steps if "if" not in step], always, variables)
    return found


def of_gitlab(text: str) -> dict[str, Lines]:
    """Return the lines of each job by its name, without the installation."""
    whole: Mapping[str, Any] = yaml.safe_load(text)
    shared = next(each for name, each in whole.items() if name.startswith("."))
    return {
        name: Lines(
            list(job["script"]),
            [line for line in job.get("after_script", ()) if not line.startswith("cd ")],
            {**shared["variables"], **job["variables"]},
        )
        for name, job in whole.items()
        if not name.startswith(".")
    }


def of_jenkins(text: str) -> dict[str, Lines]:
    """Return the lines of each stage by its name for people, those of the installation too."""
    found: dict[str, Lines] = {}
    lines, always = Lines(), False
    for line in text.splitlines():
        if (stage := STAGE.match(line)) is not None:
            lines = found[stage["title"]] = Lines()
            always = False
        elif line == "      post {":
            always = True
        elif (shell := SHELL.match(line)) is not None:
            (lines.always if always else lines.run).append(re.sub(r"\\(.)", r"\1", shell["line"]))
        elif (variable := VARIABLE.match(line)) is not None:
            secret, written = SECRET.search(variable["value"]), OF_JENKINS.match(variable["value"])
            lines.variables[variable["name"]] = secret["name"] if secret else written["text"] if written else ""
    return {title: each for title, each in found.items() if each.run}
