"""What Ctrl-C does, from the start of a command on. The file imports little, so that it can be set first."""

from __future__ import annotations

import os
import signal
from types import FrameType

INTERRUPTED = 130
MESSAGE = b"interrupted\n"


class Interrupted(BaseException):
    """Ctrl-C, under a name that the command-line library does not take for its own."""


def end_quietly() -> None:
    """From now on Ctrl-C ends this process at once: while modules load, an exception would come out anywhere."""
    signal.signal(signal.SIGINT, _end)


def raise_interrupted() -> None:
    """From now on Ctrl-C raises Interrupted, so that a verb that is at work can leave things in order."""
    signal.signal(signal.SIGINT, _raise)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, MESSAGE)
    os._exit(INTERRUPTED)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted
