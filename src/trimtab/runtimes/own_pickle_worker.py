"""The program of a process that runs one pickled object: `python -m trimtab.runtimes.own_pickle_worker FILE TASK`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import cast

from trimtab.bundle.spec import Task
from trimtab.bundle.typed_matrix import model_input
from trimtab.runtimes.answering import Predict, answer_rows
from trimtab.runtimes.python_objects import object_scores


def load(path: Path, task: Task) -> tuple[Predict, str]:
    """Load the object; return the function that scores rows, and the hello, which is the task."""
    model = pickle.loads(path.read_bytes())
    return lambda X: object_scores(model, model_input(X), task), task


if __name__ == "__main__":
    answer_rows(lambda _: load(Path(sys.argv[1]), cast(Task, sys.argv[2])))
