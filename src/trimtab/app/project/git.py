"""Puts a new project under version control, so that every run can name the revision of its code."""

from __future__ import annotations

import subprocess
from pathlib import Path

AUTHOR = ("-c", "user.name=trimtab", "-c", "user.email=trimtab@localhost", "-c", "commit.gpgsign=false")
"""Of the first commit alone; later ones are the user's."""


def begin(folder: Path) -> bool:
    """Make a git repository with one commit in a project folder; return True if it was made.

    Without git, and for files that are under version control already, return False.
    """
    if (folder / ".git").exists() or _is_tracked(folder):
        return False
    steps = (("init", "--quiet"), ("add", "--all"), (*AUTHOR, "commit", "--quiet", "--message", "Begin the project"))
    return all(_git(folder, *step) for step in steps)


def _is_tracked(folder: Path) -> bool:
    """Return True if a repository around the folder tracks it and does not ignore it."""
    inside = _git(folder, "rev-parse", "--is-inside-work-tree")
    return inside and not _git(folder, "check-ignore", "--quiet", ".")


def _git(folder: Path, *arguments: str) -> bool:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0
