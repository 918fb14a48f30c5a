"""Files for other systems in a project: written, kept in step with the policy, and compared with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

import trimtab
from trimtab import __version__
from trimtab.app.project.process_files import write_atomically
from trimtab.app.project.project import POLICY, open_project
from trimtab.errors import DefinitionError, PolicyError, StageError
from trimtab.policy.reader import line_of
from trimtab.targets.kept_regions import merge
from trimtab.targets.project_facts import Facts
from trimtab.targets.target_list import EXPORTS, PIPELINES, Target

CONSTRAINTS = "constraints.txt"
KEY = re.compile(rf"^{re.escape(POLICY)}: (?P<key>[a-z]\w*(?:\.[\w-]+)*): ")
"""How the message of a target names the key of the policy that it does not take."""
HEAD = 600
"""Characters at the beginning of a file in which it says what wrote it."""


class TargetFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file for another system. path: from the folder that the target starts at. difference: unified diff."""

    target: str
    path: str
    text: str
    file: str
    """Where it lies or would lie."""
    state: str
    """absent, same, different, or stale: it was written earlier and is no longer one of the target's files."""
    difference: str = ""


def target_files(folder: Path, name: str) -> list[TargetFile]:
    """Return the files of a target as they would be now, with the regions that belong to the user.

    Raises PolicyError or DefinitionError for a value that the system does not take; StageError for a file whose regions
    cannot be kept.
    """
    project = open_project(folder)
    root = _repository(project.folder)
    target = _target(name)
    facts = Facts(
        policy=project.policy,
        definitions=project.definitions,
        subfolder="" if root == project.folder else project.folder.relative_to(root).as_posix(),
        version=__version__,
        policy_text=(project.folder / POLICY).read_text(encoding="utf-8"),
        constraints=_constraints(),
    )
    base = root if target.at_root else project.folder
    with _placed(project.folder / POLICY):
        texts = target.files(facts)
    return [
        *(_compared(name, base, path, text) for path, text in texts.items()),
        *(_stale(name, base, set(texts)) if name in EXPORTS else ()),
    ]


def write(files: Sequence[TargetFile]) -> None:
    """Write the files that differ or are absent, and remove the stale ones.

    Raises StageError for a stale file with lines of the user, and where a folder cannot be made; nothing is removed or
    written then.
    """
    for each in files:
        if each.state == "stale":
            merge("", Path(each.file).read_text(encoding="utf-8"), each.path)
        for parent in Path(each.file).parents:
            if parent.is_file():
                raise StageError(f"cannot write {each.path}: {parent} is a file; expected a folder. Move it")
    for each in files:
        path = Path(each.file)
        if each.state == "stale":
            path.unlink()
        elif each.state != "same":
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, each.text.encode())


def written(folder: Path) -> list[TargetFile]:
    """Return the files of all targets of which the project has at least one file.

    Raises PolicyError or DefinitionError for a value that one of them does not take.
    """
    found = []
    for name in (*EXPORTS, *PIPELINES):
        try:
            files = target_files(folder, name)
        except (PolicyError, DefinitionError):
            if name in EXPORTS and not (folder / "deploy" / name).exists():
                continue  # the project has none of its files, and may lack what they need
            raise
        if any(each.state != "absent" for each in files):
            found += files
    return found


def _constraints() -> str:
    """Return the versions that this release was tested with: in the wheel, or in the repository."""
    package = Path(trimtab.__file__).resolve().parent
    found = next(path for path in (package / CONSTRAINTS, package.parents[1] / CONSTRAINTS) if path.is_file())
    return found.read_text(encoding="utf-8")


def _target(name: str) -> Target:
    return EXPORTS[name] if name in EXPORTS else PIPELINES[name]


@contextmanager
def _placed(policy: Path) -> Iterator[None]:
    """Add file and line to the error of a target that names a key of the policy."""
    try:
        yield
    except PolicyError as error:
        found = KEY.match(str(error))
        if found is None:
            raise
        line = line_of(policy, found["key"])
        raise PolicyError(f"{policy}:{line}: {str(error).removeprefix(POLICY + ': ')}") from None


def _compared(target: str, base: Path, path: str, text: str) -> TargetFile:
    file = base / path
    if not file.is_file():
        return TargetFile(target=target, path=path, text=text, file=str(file), state="absent")
    found = file.read_text(encoding="utf-8")
    text = merge(text, found, path)
    lines = difflib.unified_diff(
        found.splitlines(), text.splitlines(), f"{path} (written)", f"{path} (now)", lineterm=""
    )
    state = "same" if found == text else "different"
    return TargetFile(target=target, path=path, text=text, file=str(file), state=state, difference="\n".join(lines))


def _stale(target: str, base: Path, made: set[str]) -> Iterator[TargetFile]:
    """Yield the files in the folder of a target that say they were written for it, and are not made any more."""
    wrote = f"Written by trimtab export {target}"
    for file in sorted((base / "deploy" / target).rglob("*")):
        path = file.relative_to(base).as_posix()
        if path in made or not file.is_file():
            continue
        with file.open(encoding="utf-8", errors="replace") as opened:
            if wrote in opened.read(HEAD).replace("`", ""):
                yield TargetFile(target=target, path=path, text="", file=str(file), state="stale")


def _repository(folder: Path) -> Path:
    """Return the root of the git repository that a project lies in, or its folder."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)
