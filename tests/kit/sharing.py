"""Make once what several test processes of a run need, and hand it to all of them."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(
    factory: pytest.TempPathFactory, config: pytest.Config, name: str, make: Callable[[Path], object]
) -> Path:
    """Return a folder that is made by the first process that asks for it; others wait for it meanwhile.

    make: fills the folder, which is not there yet.
    """
    root = factory.getbasetemp()
    if hasattr(config, "workerinput"):  # one of several processes; their folders lie side by side
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(folder)
            done.touch()
    return folder
