"""Wait for a condition as long as it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trimtab.clock import SystemClock

PATIENCE_S = 300.0
"""After so long a test that waits in vain fails. One that passes waits no longer than it must, so that this may be
long enough for a machine on which ten others work."""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return what the condition gives as soon as that is true; fail saying what was waited for."""
    clock = SystemClock()
    start = clock.now()
    while not (found := condition()):
        assert (clock.now() - start).total_seconds() < PATIENCE_S, f"waited {PATIENCE_S:.0f} s in vain: {what}"
        clock.sleep(0.02)
    return found
