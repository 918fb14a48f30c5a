"""The thread that polls the control plane for orders and tokens, and reports gaps of the prediction log to it.

It is apart from the supervisor's own thread, so that a slow or unreachable metadata store neither delays the restart of
a worker nor changes what serves.
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


class GatewayControl(Protocol):
    """The control plane of a gateway: decides what serves, who has access, and what the guard does.

    Called from one thread at a time. Each method raises TrimtabError when a store cannot be reached.
    """

    def orders(self) -> tuple[ModelOrder, ...] | None:
        """Return what should serve; None when it has not changed since the last call."""
        ...

    def grants(self) -> tuple[Grant, ...] | None:
        """Return the valid tokens; None when they have not changed since the last call."""
        ...

    def guard(self) -> None:
        """Compare the counts of the workers with the live limits, and act on a breach."""
        ...

    def gap(self, worker: str, gap: Gap) -> None:
        """Record a gap: answers that could not be logged."""
        ...


class ControlPoller:
    """Polls a `GatewayControl` in a thread of its own, every `every_s` seconds until `stop` is set.

    admit, serve: called in that thread with tokens and orders that have changed.
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
        self._control: GatewayControl | None = None
        self._gaps: deque[tuple[str, Gap]] = deque()

    def begin(self, control: GatewayControl) -> None:
        """Start the thread."""
        self._control = control
        threading.Thread(target=self._poll, args=(control,), name="control", daemon=True).start()

    def note(self, worker: str, gap: Gap) -> None:
        """Queue a gap of the log, to be recorded at the next poll."""
        self._gaps.append((worker, gap))

    def finish(self) -> None:
        """Record the gaps that are left, in the caller's thread."""
        if self._gaps and self._control is not None:
            try:
                self._record_gaps(self._control)
            except TrimtabError as error:
                logger.error("%d gaps of the prediction log were not recorded: %s", len(self._gaps), error)

    def _poll(self, control: GatewayControl) -> None:
        failing = False
        while not self._stop.is_set():
            try:
                self._poll_once(control)
                failing = False
            except Exception as error:  # the border of the loop: the store may be unreachable for a while
                if not failing:
                    logger.error("what should serve cannot be read, what serves goes on: %s", error)
                failing = True
            self._stop.wait(self._every_s)

    def _poll_once(self, control: GatewayControl) -> None:
        grants = control.grants()
        if grants is not None:
            self._admit(Admit(grants))
        orders = control.orders()
        if orders is not None:
            self._serve(orders)
        self._record_gaps(control)
        control.guard()

    def _record_gaps(self, control: GatewayControl) -> None:
        """Record gaps of the log; one that the store refuses stays queued."""
        while self._gaps:
            control.gap(*self._gaps[0])
            self._gaps.popleft()
