"""Bundles that answer nobody, such as shadows, each in a process of its own at the lowest priority. Opened by serving.

Whatever such a model does, it takes neither the interpreter lock nor the processor from those that answer, and when it
crashes it takes nobody with it. Until its process is there, and when it does not come up, the model scores here.
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
"""Longest wait for an answer: nobody is kept waiting, and where the machine is busy the process hardly runs."""

logger = logging.getLogger(__name__)


class AsideScorer:
    """A bundle in a process of its own, of which nobody waits for an answer.

    here: the same bundle opened in this process. It is closed when the process has come up, and scores in its place
    when that does not. Raises ProcessFailed when the system starts no process.
    """

    def __init__(self, process: ModelProcess, here: Scorer) -> None:
        self.task: Task = here.task
        self.process = process
        self._here: Scorer | None = here
        self._settled = threading.Event()
        """Set when it is known whether the process came up."""
        threading.Thread(target=self._settle, name=f"start {process.folder.name}", daemon=True).start()

    @property
    def in_process(self) -> bool:
        """False, unless the process did not come up."""
        return self._settled.is_set() and self._here is not None

    @property
    def pid(self) -> int | None:
        """The process that runs the model now."""
        return self.process.pid

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one score a row, of the process as soon as it is up. Raises as the process, or as the runtime."""
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
        """Wait for the process. Runs in a thread."""
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


def open_aside(folder: Path, spec: Spec, here: Scorer, *, digest: str = "", trust: Collection[str] = ()) -> Scorer:
    """Move a bundle that was opened here into a process of its own; return what scores with it from now on.

    digest: checked by the process, too. trust: policy `serving.trust`. When the system starts no process, that is
    logged, and the bundle goes on scoring here.
    """
    opening = Opening(str(folder.absolute()), digest, spec, tuple(trust))
    try:
        process = ModelProcess(
            PROGRAM,
            folder,
            opening=pipe_frames.pack(pipe_frames.OPEN, msgspec.json.encode(opening)),
            timeout_s=TIMEOUT_S,
            aside=True,
        )
    except ProcessFailed as error:
        logger.warning("a shadow scores in the gateway's own process: %s", error)
        return here
    return AsideScorer(process, here)
