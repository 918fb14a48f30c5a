"""Describes the environment of a run: code, packages, Python. Never raises an error for missing information."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from functools import cache, cached_property
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from trimtab.bundle.origin import code_hash

UNVERSIONED = "unversioned"
DIRTY = "+dirty"
GIT_TIMEOUT_S = 20
PATCHED = (".py", ".pyi", ".sql")
"""Ends of the names of new files that belong to the code of a project."""
POLICY = "trimtab.yaml"
"""Left out of patches: it may name passwords, and the metadata store has its text."""
CODE = ("--relative", "HEAD", "--", ".", f":(exclude){POLICY}")
"""The arguments of git diff: from the newest revision to the files of this folder."""
PATCH_BYTES = 2_000_000
"""The largest patch of uncommitted changes that is kept with a run."""
ROOT = "trimtab"
"""The distribution that every training needs."""


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
    changes: str | None = ""
    """Patch from the revision to the files of the project, paths from the project folder (`git apply --directory`);
    None if it is too large."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 over Python, platform and packages."""
        return hashlib.sha256("\n".join((self.python, self.platform, *self.packages)).encode()).hexdigest()

    @property
    def listing(self) -> str:
        """All packages, as a requirements.txt."""
        return "".join(f"{package}\n" for package in self.packages)

    @property
    def changes_hash(self) -> str:
        """SHA-256 of the patch of uncommitted changes, "" without changes, `too large` if it is not kept."""
        if self.changes is None:
            return "too large"
        return hashlib.sha256(self.patch).hexdigest() if self.changes else ""

    @property
    def patch(self) -> bytes:
        """The content of the patch."""
        return (self.changes or "").encode(errors="surrogateescape")

    def pins(self) -> tuple[str, ...]:
        """Return the pins of what this process has loaded until now and of what that needs; a part of `packages`."""
        brings = _brings()
        loaded = {name.partition(".")[0] for name in list(sys.modules)}
        names = _with_needs({ROOT, *(_normal(found) for module in loaded for found in brings.get(module, ()))})
        return tuple(package for package in self.packages if package.partition("==")[0] in names)

    def requirements(self, modules: Iterable[str]) -> str:
        """Return a requirements.txt of the distributions that contain some modules, at the versions of this run."""
        brings = _brings()
        names = {_normal(name) for module in modules for name in brings.get(module, ())}
        wanted = [package for package in self.packages if package.partition("==")[0] in names]
        return "".join(f"{package.replace('mlflow-skinny==', 'mlflow==')}\n" for package in wanted)


def capture(project: Path) -> Environment:
    """Describe this process and the project folder."""
    return Environment(
        code_version=code_version(project),
        code_hash=code_hash(project),
        python=platform.python_version(),
        platform=f"{platform.system()}-{platform.machine()}",
        packages=installed_packages(),
        changes=uncommitted_changes(project),
    )


def code_version(project: Path) -> str:
    """Return the git revision of a folder, with '+dirty' if files differ; 'unversioned' if git does not track it."""
    revision = git_output(project, "rev-parse", "--verify", "HEAD")
    if not revision or not git_output(project, "ls-files", "--", "."):
        return UNVERSIONED
    changes = git_output(project, "status", "--porcelain", "--", ".")
    return revision if changes == "" else f"{revision}{DIRTY}"


def uncommitted_changes(project: Path) -> str | None:
    """Return a patch that git can apply to the revision: changed tracked files, and new files of code.

    "" without changes and without git; None if the patch is larger than PATCH_BYTES.
    """
    patch = git_output(project, "diff", "--binary", "--no-color", "--no-ext-diff", *CODE, raw=True)
    if patch is None or code_version(project) == UNVERSIONED:
        return ""
    new = git_output(project, "ls-files", "-z", "--others", "--exclude-standard", "--", ".") or ""
    for name in sorted(name for name in new.split("\0") if name.endswith(PATCHED)):
        added = ("diff", "--no-index", "--binary", "--no-color", "--no-ext-diff", "--", "/dev/null", name)
        patch += git_output(project, *added, fine=(0, 1), raw=True) or ""
        if len(patch) > PATCH_BYTES:
            return None
    return patch if len(patch) <= PATCH_BYTES else None


def installed_packages() -> tuple[str, ...]:
    """Return name==version of every installed distribution, names as PEP 503 writes them, sorted."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        about = _head(distribution)
        if about["Name"]:  # a partly removed distribution has no name
            found.setdefault(_normal(about["Name"]), about["Version"])
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


@cache
def _brings() -> Mapping[str, list[str]]:
    """Return the distributions that contain a module, by its name, as `importlib.metadata.packages_distributions`.

    That function makes an object of each file of each distribution, which takes longer than a small training.
    """
    found: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions():
        modules = set((distribution.read_text("top_level.txt") or "").split())
        if not modules:
            files = [
                line.partition(",")[0].strip('"') for line in (distribution.read_text("RECORD") or "").splitlines()
            ]
            modules = {file.removesuffix(".py").partition("/")[0] for file in files if file.endswith(".py")}
        for module in modules:
            found.setdefault(module, []).append(_head(distribution)["Name"])
    return found


def _head(distribution: importlib.metadata.Distribution) -> Message:
    """Return the fields of a distribution without its description, which takes most of the time to parse."""
    texts = (distribution.read_text(name) for name in ("METADATA", "PKG-INFO", ""))
    return HeaderParser().parsestr(next((text for text in texts if text), "").partition("\n\n")[0])


def _with_needs(names: set[str]) -> set[str]:
    """Return names of distributions with those that they require here, directly or not."""
    found, left = set[str](), [(name, "") for name in names]
    seen = set(left)
    while left:
        name, extra = left.pop()
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        for line in lines:
            try:
                needed = Requirement(line)
            except InvalidRequirement:
                continue
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                wanted = [(_normal(needed.name), each) for each in ("", *needed.extras)]
                left += [each for each in wanted if each not in seen]
                seen |= set(wanted)
    return found


def _normal(name: str) -> str:
    """Return the name of a distribution as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def git_output(folder: Path, *arguments: str, fine: tuple[int, ...] = (0,), raw: bool = False) -> str | None:
    """Return the output of git, or None if git is missing, fails or takes longer than GIT_TIMEOUT_S.

    fine: exit codes of success. raw: with the white space around it.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode not in fine:
        return None
    text = done.stdout.decode(errors="surrogateescape")
    return text if raw else text.strip()
