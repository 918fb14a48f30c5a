"""Describes the environment of a run: code version, packages, Python. Never raises an error for missing information."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

UNVERSIONED = "unversioned"
GIT_TIMEOUT_S = 20


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Code and packages of one run."""

    code_version: str
    """Git revision of the project, '+dirty' when tracked or new files differ, or 'unversioned'."""
    code_hash: str
    """SHA-256 over the project's top-level Python files, which also identifies uncommitted changes."""
    python: str
    platform: str
    packages: tuple[str, ...]
    """name==version, sorted."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 over Python, platform and packages."""
        return hashlib.sha256("\n".join((self.python, self.platform, *self.packages)).encode()).hexdigest()

    @property
    def listing(self) -> str:
        """All packages, as a requirements.txt."""
        return "".join(f"{package}\n" for package in self.packages)

    def requirements(self, modules: Iterable[str]) -> str:
        """Return a requirements.txt of the distributions that contain some modules, at the versions of this run."""
        brings = importlib.metadata.packages_distributions()
        names = {_normal(name) for module in modules for name in brings.get(module, ())}
        wanted = [package for package in self.packages if package.partition("==")[0] in names]
        return "".join(f"{package.replace('mlflow-skinny==', 'mlflow==')}\n" for package in wanted)


def capture(project: Path) -> Environment:
    """Describe this process and the project folder."""
    digest = hashlib.sha256()
    for path in code_files(project):
        digest.update(f"{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return Environment(
        code_version=code_version(project),
        code_hash=digest.hexdigest(),
        python=platform.python_version(),
        platform=f"{platform.system()}-{platform.machine()}",
        packages=installed_packages(),
    )


def code_files(project: Path) -> list[Path]:
    """Return the project's top-level Python files, sorted by name."""
    return sorted(path for path in project.glob("*.py") if path.is_file())


def code_version(project: Path) -> str:
    """Return the git revision of a folder, with '+dirty' if files differ; 'unversioned' if git does not track it."""
    revision = _git(project, "rev-parse", "--verify", "HEAD")
    if not revision or not _git(project, "ls-files", "--", "."):
        return UNVERSIONED
    changes = _git(project, "status", "--porcelain", "--", ".")
    return revision if changes == "" else f"{revision}+dirty"


def installed_packages() -> tuple[str, ...]:
    """Return name==version of every installed distribution, names as PEP 503 writes them, sorted."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a partly removed distribution has no name
            found.setdefault(_normal(name), distribution.version)
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


def _normal(name: str) -> str:
    """Return the name of a distribution as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _git(project: Path, *arguments: str) -> str | None:
    """Return the output of git, or None if git is missing, fails or takes longer than GIT_TIMEOUT_S."""
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
