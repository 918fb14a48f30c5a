"""The project runtime: runs a pickle of the project's own training in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.bundle.scorer import Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.runtimes.model_process import ModelProcess
from trimtab.runtimes.opening import Opener

if TYPE_CHECKING:
    import numpy as np

PROGRAM = "trimtab.runtimes.own_pickle_worker"


class ProjectScorer:
    """A Python object in a process of its own. Raises DataError when it cannot be loaded."""

    in_process = False

    def __init__(self, path: Path, task: Task, options: Options) -> None:
        self.task: Task = task
        self.process = ModelProcess(
            PROGRAM,
            path.parent,
            arguments=[str(path.absolute()), task],
            timeout_s=options.timeout_s,
            low_priority=options.low_priority,
        )
        self.process.greeting()

    @property
    def pid(self) -> int | None:
        """Id of the process that runs the model now; None when none runs."""
        return self.process.pid

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one score a row. Raises ProcessFailed when the process failed, DataError when the model did."""
        return self.process.score(X)

    def close(self) -> None:
        """End the process; a score under way fails."""
        self.process.close()


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Start the process of a pickle. Raises DataError."""
    return ProjectScorer(path, task, options)


_: Opener = open_model
