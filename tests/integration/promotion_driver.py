"""Promotes in a process that dies by SIGKILL at a step: python -m integration.promotion_driver PROJECT STEP MOMENT.

The step is the name of a function in STEPS, the moment `before` or `after` its first call.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kit.environments import Pair
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata.embedded import SqliteMetadata
from trimtab.training.mlflow_client import load_mlflow
from trimtab.training.registry import Registry

Test = Callable[[tuple[Any, ...]], bool]


def puts(kind: type) -> Test:
    """Return a test of the arguments of `put`: a record of that kind is among them."""
    return lambda arguments: any(isinstance(each, kind) for each in arguments)


STEPS: dict[str, tuple[Any, str, Test]] = {
    "copyfile": (shutil, "copyfile", lambda arguments: True),
    "publish": (FolderArtifacts, "publish", lambda arguments: True),
    "register": (Registry, "_make", lambda arguments: True),
    "records": (SqliteMetadata, "put", puts(Bundle)),
    "revision": (SqliteMetadata, "put", puts(Revision)),
}


def die_at(step: str, moment: str) -> None:
    """Replace the function of a step by one that kills this process."""
    owner, name, matches = STEPS[step]
    real = getattr(owner, name)

    def killing(*arguments: Any, **named: Any) -> Any:
        if not matches(arguments):
            return real(*arguments, **named)
        if moment == "after":
            real(*arguments, **named)
        return os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killing)


def promote_in_child(folder: Path, step: str, moment: str) -> int:
    """Promote in a forked process; return its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        if step:
            die_at(step, moment)
        Pair(folder).promote()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    load_mlflow()  # once, and not in each of the processes
    for asked in sys.argv[2:]:
        print(asked, promote_in_child(Path(sys.argv[1]), *asked.split(".")), flush=True)
        found = Pair(Path(sys.argv[1])).production
        bundles = [each.digest for each in found.metadata.find(Bundle)]
        print(asked, len(found.artifacts.names()), bundles, len(found.metadata.find(Revision)), flush=True)
