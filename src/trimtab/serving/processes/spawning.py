"""Starts worker processes. Light, so that the first one can start before its supervisor has loaded the rest.

A worker inherits nothing but one end of a socket pair; the listening socket follows over it when it is bound.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Sequence
from typing import NamedTuple


class Spawned(NamedTuple):
    """A process and the supervisor's end of its channel."""

    process: subprocess.Popen[bytes]
    end: socket.socket


def spawn(command: Sequence[str]) -> Spawned:
    """Start a worker; the number of its channel's file is the last argument. It ends when the channel is closed."""
    own, theirs = socket.socketpair()
    with theirs:
        number = theirs.fileno()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is the supervisor's
        try:
            process = subprocess.Popen([*command, str(number)], pass_fds=(number,), stdin=subprocess.DEVNULL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Spawned(process, own)


def hand_over(end: socket.socket, listener: socket.socket) -> None:
    """Give a worker the listening socket. Raises OSError when it is gone."""
    socket.send_fds(end, [b"\0"], [listener.fileno()])


def take_over(end: socket.socket) -> socket.socket | None:
    """Wait for the listening socket, in a worker; None when the supervisor is gone."""
    _, files, _, _ = socket.recv_fds(end, 1, 1)
    return socket.socket(fileno=files[0]) if files else None


class _Early:
    """The worker that was started before it was known what it is to serve."""

    def __init__(self) -> None:
        self._spawned: Spawned | None = None

    def start(self, command: Sequence[str]) -> None:
        """Start it."""
        self._spawned = spawn(command)

    def take(self) -> Spawned | None:
        """Return it, once."""
        found, self._spawned = self._spawned, None
        return found


early = _Early()
