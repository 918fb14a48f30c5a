"""Example projects that `trimtab init` copies."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import trimtab
from trimtab.app.project import git
from trimtab.errors import StageError, UsageError, nearest


@dataclass(frozen=True)
class Demo:
    """What `trimtab demo` does with a template."""

    trained_on_until: str
    """The first model is trained on what was known by this time; the replay begins there."""
    end: str
    prediction: str
    """Id of a prediction whose lineage is worth a look."""
    live: tuple[str, ...] = ()
    """Options of the template's produce.py for a part that flows in real time, after the replay."""


PACKAGE = Path(trimtab.__file__).resolve().parent
IN_WHEEL = PACKAGE / "examples"
IN_REPOSITORY = PACKAGE.parents[1] / "examples"
USUAL_STEPS = ("trimtab run", "trimtab up")
PRODUCER = "produce.py"
"""Of a template whose rows come as a stream: sends them to the broker."""
SENT = "data/sent.json"
"""What the producer has sent so far."""
FIRST_STEPS = {
    "llm": (
        *USUAL_STEPS,
        "python traffic.py   # in another terminal: tickets, and what customers say of the answers",
    ),
    "blank": ("put your file into data/, and change the names in definitions.py", "trimtab doctor"),
    "fraud": (
        "trimtab stream & python produce.py --to 2025-06-01T00:00Z   # the history of payments, over a broker",
        "kill %1   # ends the stream and its broker; trimtab up starts them again",
        "trimtab run --as-of 2025-06-01T00:00Z",
        "trimtab up",
        "python produce.py --live 50   # in another terminal",
    ),
}
"""By template: what a new project needs first, where it is not to run it."""
DEMOS = {
    "flights": Demo("2013-03-01T05:00Z", "2013-05-01T04:00Z", "flights-100000"),  # midnights in New York
    "bikes": Demo("2011-04-01T04:00Z", "2011-10-01T04:00Z", "rides-4000"),  # midnights in Washington
    "fraud": Demo(
        "2025-06-01T00:00Z", "2025-09-15T00:00Z", "outcomes-200000", live=("--live", "50", "--limit", "1000")
    ),
}
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".trimtab", "data")


def names() -> list[str]:
    """Return the names of all templates."""
    return sorted(path.parent.name for path in _home().glob("*/trimtab.yaml"))


def init(template: str, folder: Path) -> list[str]:
    """Copy a template into a folder and make its data; return what was written.

    Files that are there already are kept: running it again repairs, and loses nothing.
    Raises UsageError for an unknown template, StageError when its data cannot be made.
    """
    if template not in names():
        raise UsageError(f"no template '{template}'.{nearest(template, names())}")
    written: list[str] = []

    def copy(source: str, target: str) -> str:
        if not Path(target).exists():
            shutil.copyfile(source, target)
            written.append(str(Path(target).relative_to(folder)))
        return target

    shutil.copytree(_home() / template, folder, ignore=LEFT_OUT, dirs_exist_ok=True, copy_function=copy)
    if (folder / "prepare.py").exists() and not (folder / "data").exists():
        _prepare(folder)
        written.append("data/")
    if git.begin(folder):
        written.append(".git/")
    return written


def first_steps(template: str) -> tuple[str, ...]:
    """Return what to do in a new project, one command or sentence a step."""
    return FIRST_STEPS.get(template, USUAL_STEPS)


def produce(folder: Path, *options: str) -> str:
    """Let a template send rows to its broker, and return what it says. Raises StageError."""
    return _run(folder, PRODUCER, *options)


def is_sent(folder: Path) -> bool:
    """Return True if a template's rows were sent to its broker before."""
    return (folder / SENT).exists()


def _prepare(folder: Path) -> None:
    _run(folder, "prepare.py")


def _run(folder: Path, program: str, *options: str) -> str:
    command = [sys.executable, program, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"{folder / program} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def _home() -> Path:
    return IN_WHEEL if IN_WHEEL.is_dir() else IN_REPOSITORY
