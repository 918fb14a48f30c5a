"""The pyfunc runtime: runs an MLflow model that must be unpickled in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.bundle.scorer import TIMEOUT_S, Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.errors import DataError
from trimtab.metric_catalog import TASKS
from trimtab.runtimes.model_process import ModelProcess
from trimtab.runtimes.opening import Opener
from trimtab.tasks import RULES

if TYPE_CHECKING:
    import numpy as np

PROGRAM = "trimtab.runtimes.pyfunc_worker"


class PyfuncScorer:
    """An MLflow model in a process of its own. Raises DataError when it cannot be loaded.

    task: None takes the task that the model names. timeout_s: longest wait for scores. low_priority: its process runs
    only when the processor is otherwise idle.
    """

    in_process = False

    def __init__(
        self, folder: Path, task: Task | None, *, timeout_s: float = TIMEOUT_S, low_priority: bool = False
    ) -> None:
        arguments = [str(folder.absolute())]
        self.process = ModelProcess(
            PROGRAM, folder, arguments=arguments, timeout_s=timeout_s, low_priority=low_priority
        )
        text = self.process.greeting()
        self.told: Task | None = next((known for known in TASKS if known == text), None)
        """The task that the model names; None when it names none."""
        if task is not None and self.told not in (None, task):
            self.close()
            raise DataError(f"{folder}: the model's task is {self.told}, not {task}; describe the folder again")
        self.task: Task = task or self.told or "regression"

    @property
    def pid(self) -> int | None:
        """Id of the process that runs the model now; None when none runs."""
        return self.process.pid

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows. Raises ProcessFailed when the process failed, DataError when the model did."""
        found = self.process.score(X)
        if found.ndim == 2 and not RULES[self.task].by_class:
            raise DataError(f"{self.process.folder.name}: the model gave {found.size} numbers for {len(X)} rows")
        return found

    def close(self) -> None:
        """End the process; a score under way fails."""
        self.process.close()


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Start the process of a folder's model. Raises DataError."""
    return PyfuncScorer(path, task, timeout_s=options.timeout_s, low_priority=options.low_priority)


_: Opener = open_model
