"""Makes a Python environment from the pins of a run, with uv, and keeps it in the cache folder.

The environment has exactly the packages of the pins. Trimtab itself is linked from this installation when the pins name
its version, so that a run of an editable installation can be made again; another version is installed like any package.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import trimtab
from trimtab.errors import StageError, UsageError, nearest

OWN = f"trimtab=={trimtab.__version__}"
MADE = "made"
"""A file in an environment that is complete."""
SHOWN_LINES = 6


def changed_pins(pins: Sequence[str], changes: Sequence[str]) -> tuple[str, ...]:
    """Return pins with some of them set to another version.

    changes: name==version of each. Raises UsageError for a package that is not among the pins.
    """
    versions = versions_of(pins)
    for change in changes:
        name, equals, version = change.partition("==")
        if not equals or not version.strip():
            raise UsageError(f"--pin {change}: expected NAME==VERSION, such as scikit-learn==1.8.0")
        normal = name.strip().lower().replace("_", "-")
        if normal not in versions:
            raise UsageError(f"--pin {change}: the run has no package '{normal}'.{nearest(normal, versions)}")
        versions[normal] = version.strip()
    return tuple(f"{name}=={version}" for name, version in sorted(versions.items()))


def versions_of(pins: Sequence[str]) -> dict[str, str]:
    """Return versions by name of name==version."""
    return {name: version for name, _, version in (pin.partition("==") for pin in pins)}


def differing_pins(recorded: Sequence[str], used: Sequence[str]) -> list[tuple[str, str, str | None]]:
    """Return name, recorded version and used version (None: not installed) of the packages that are not the same."""
    there = versions_of(used)
    return [(name, of, there.get(name)) for name, of in versions_of(recorded).items() if there.get(name) != of]


def make_environment(pins: Sequence[str], python: str, *, cache: Path, offline: bool = False) -> Path:
    """Return the Python of an environment with these packages; it is made when the cache does not have it.

    Args:
        pins: name==version of all packages.
        python: version of Python, such as 3.11.7; "" takes this one's.
        cache: folder of files that can be made again.
        offline: use what uv has in its own cache, and ask no package index.

    Raises:
        StageError: uv is not installed, or the environment cannot be made; says why and what to do.
    """
    wanted = python or platform.python_version()
    key = hashlib.sha256("\n".join((wanted, str(Path(trimtab.__file__).parent), *pins)).encode()).hexdigest()[:16]
    folder = cache.expanduser() / "environments" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / MADE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, pins, wanted, offline=offline)
            (folder / MADE).touch()
    return folder / "bin" / "python"


def _make(folder: Path, pins: Sequence[str], python: str, *, offline: bool) -> None:
    own = sys.executable if python == platform.python_version() else python
    told = ["--offline"] * offline
    _uv("venv", "--no-project", "--python", own, str(folder), *told, what=f"Python {python}", offline=offline)
    listed = folder / "pins.txt"
    listed.write_text("".join(f"{pin}\n" for pin in pins if pin != OWN), encoding="utf-8")
    _uv(
        *("pip", "install", "--no-deps", "--python", str(folder / "bin" / "python"), "-r", str(listed), *told),
        what=f"{len(pins)} packages",
        offline=offline,
    )
    if OWN in pins:
        _link_own(next(folder.glob("lib/python*/site-packages")))


def _link_own(packages: Path) -> None:
    """Link this installation of Trimtab, and the description of it, into an environment."""
    home = Path(trimtab.__file__).parent
    (packages / "trimtab").symlink_to(home, target_is_directory=True)
    about = importlib.metadata.distribution("trimtab")
    written = packages / f"trimtab-{about.version}.dist-info"
    written.mkdir()
    (written / "METADATA").write_text(about.read_text("METADATA") or "", encoding="utf-8")


def _uv(*arguments: str, what: str, offline: bool) -> None:
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise StageError(
            "uv is not installed, which makes the environment of the run. Install it with: pip install uv; or use this "
            "environment: trimtab reproduce --here"
        )
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[-SHOWN_LINES:])
        remedy = "Leave --offline out" if offline else "Without a network, use --offline where uv has them in its cache"
        raise StageError(
            f"the environment of the run cannot be made again ({what}):\n{said}\n{remedy}, change a pin with --pin "
            "NAME==VERSION, or take the packages that are installed here: --here"
        )
