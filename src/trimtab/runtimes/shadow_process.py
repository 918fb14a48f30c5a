"""Scores with a shadow bundle in a process of its own at the lowest priority.

Such a model takes neither the interpreter lock nor processor time from bundles that answer requests, and a crash ends
only its own process. Until the process has started, and when it fails to start, the model scores in this process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, Task
from trimtab.errors import TrimtabError
from trimtab.runtimes import pipe_frames
from trimtab.runtimes.memory_trim import give_back
from trimtab.runtimes.model_process import START_TIMEOUT_S, ModelProcess, ProcessFailed
from trimtab.runtimes.shadow_worker import Opening

PROGRAM = "trimtab.runtimes.shadow_worker"
TIMEOUT_S = 120.0
"""Longest wait for scores. It is long because no client waits, and the process gets little time on a busy machine."""

logger = logging.getLogger(__name__)


class ShadowScorer:
    """A bundle in a process of its own whose scores are not sent to clients.

    here: the same bundle opened in this process. It scores until the process has started, and is closed then; it goes
    on scoring when the process fails to start.
    """

    def __init__(self, process: ModelProcess, here: Scorer) -> None:
        self.task: Task = here.task
        self.process = process
        self._here: Scorer | None = here
        self._settled = threading.Event()
        """Set when the process has loaded the model or has failed to."""
        threading.Thread(target=self._settle, name=f"start {process.folder.name}", daemon=True).start()

    @property
    def in_process(self) -> bool:
        """True if the process failed to start."""
        return self._settled.is_set() and self._here is not None

    @property
    def pid(self) -> int | None:
        """Id of the process that runs the model now; None when none runs."""
        return self.process.pid

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one score a row. Raises the errors of ModelProcess, or of the runtime in this process."""
        self._settled.wait(START_TIMEOUT_S)
        here = self._here
        return self.process.score(X) if here is None else here.score(X)

    def close(self) -> None:
        """End the process; a score under way fails."""
        self.process.close()
        self._settled.wait(START_TIMEOUT_S)
        if self._here is not None:
            self._here.close()

    def _settle(self) -> None:
        """Wait until the process has loaded the model, in a thread of its own."""
        try:
            self.process.greeting()
        except (TrimtabError, OSError) as error:
            if not self.process.closed:
                logger.warning("a shadow scores in the gateway's own process: %s", error)
                self.process.close()
        else:
            here, self._here = self._here, None
            if here is not None:
                here.close()
            del here
            give_back()
        finally:
            self._settled.set()


def open_shadow(folder: Path, spec: Spec, here: Scorer, *, digest: str = "", trust: Collection[str] = ()) -> Scorer:
    """Move a bundle that was opened in this process into a process of its own; return the scorer to use from now on.

    digest: the process checks it, too. trust: policy `serving.trust`. When the process cannot be started, a warning is
    logged, and the bundle goes on scoring in this process.
    """
    opening = Opening(str(folder.absolute()), digest, spec, tuple(trust))
    try:
        process = ModelProcess(
            PROGRAM,
            folder,
            opening=pipe_frames.pack(pipe_frames.OPEN, msgspec.json.encode(opening)),
            timeout_s=TIMEOUT_S,
            low_priority=True,
        )
    except ProcessFailed as error:
        logger.warning("a shadow scores in the gateway's own process: %s", error)
        return here
    return ShadowScorer(process, here)
