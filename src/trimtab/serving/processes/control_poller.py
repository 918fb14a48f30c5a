"""Asks the control what should serve, and tells it of gaps, from a thread of its own. Run by supervisor.

A metadata store that is slow or away keeps no dead worker down that way, and changes nothing of what serves.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from trimtab.errors import TrimtabError
from trimtab.serving.orders import Admit, Gap, Grant, ModelOrder

logger = logging.getLogger(__name__)


class Control(Protocol):
    """What the supervisor obeys. Called from one thread, over and over (at the end from the main one); raises
    TrimtabError when a store is away."""

    def orders(self) -> tuple[ModelOrder, ...] | None:
        """Return what should serve, when it has changed."""
        ...

    def grants(self) -> tuple[Grant, ...] | None:
        """Return who is admitted, when it has changed."""
        ...

    def guard(self) -> None:
        """Look at what the workers counted, and act on it."""
        ...

    def gap(self, worker: str, gap: Gap) -> None:
        """Record that answers could not be logged."""
        ...


class Asking:
    """The thread that asks.

    admit, serve: called from it with what has changed. every_s: the pause between two looks; it ends when `stop` is
    set.
    """

    def __init__(
        self,
        *,
        admit: Callable[[Admit], None],
        serve: Callable[[tuple[ModelOrder, ...]], None],
        every_s: float,
        stop: threading.Event,
    ) -> None:
        self._admit = admit
        self._serve = serve
        self._every_s = every_s
        self._stop = stop
        self._control: Control | None = None
        self._gaps: deque[tuple[str, Gap]] = deque()

    def begin(self, control: Control) -> None:
        """Ask from now on."""
        self._control = control
        threading.Thread(target=self._poll, args=(control,), name="control", daemon=True).start()

    def note(self, worker: str, gap: Gap) -> None:
        """Take a gap of the log, to be recorded at the next look."""
        self._gaps.append((worker, gap))

    def finish(self) -> None:
        """Record the gaps that are left, in the thread of the caller."""
        if self._gaps and self._control is not None:
            try:
                self._tell_gaps(self._control)
            except TrimtabError as error:
                logger.error("%d gaps of the prediction log were not recorded: %s", len(self._gaps), error)

    def _poll(self, control: Control) -> None:
        """Ask what changed until told to stop."""
        failing = False
        while not self._stop.is_set():
            try:
                self._ask(control)
                failing = False
            except Exception as error:  # the border of the loop: the store may be away for a while
                if not failing:
                    logger.error("what should serve cannot be read, what serves goes on: %s", error)
                failing = True
            self._stop.wait(self._every_s)

    def _ask(self, control: Control) -> None:
        grants = control.grants()
        if grants is not None:
            self._admit(Admit(grants))
        orders = control.orders()
        if orders is not None:
            self._serve(orders)
        self._tell_gaps(control)
        control.guard()

    def _tell_gaps(self, control: Control) -> None:
        """Record gaps of the log; what the store does not take now is tried again."""
        while self._gaps:
            control.gap(*self._gaps[0])
            self._gaps.popleft()
