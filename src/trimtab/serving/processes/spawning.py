"""Starts worker processes. It imports little, so that the first worker starts while its supervisor imports the rest.

A worker inherits one end of a socket pair and gets the listening socket over it once that is bound.
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
    """Start a worker with the file descriptor of its channel as last argument. It ends when the channel is closed."""
    own, theirs = socket.socketpair()
    with theirs:
        number = theirs.fileno()
        before = signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT}
        )  # inherited by the worker: Ctrl-C ends the supervisor, which ends the worker
        try:
            process = subprocess.Popen([*command, str(number)], pass_fds=(number,), stdin=subprocess.DEVNULL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Spawned(process, own)


def hand_over(end: socket.socket, listener: socket.socket) -> None:
    """Send a worker the listening socket. Raises OSError when the worker is gone."""
    socket.send_fds(end, [b"\0"], [listener.fileno()])


def take_over(end: socket.socket) -> socket.socket | None:
    """Receive the listening socket in a worker; None when there is none, or the supervisor is gone."""
    _, files, _, _ = socket.recv_fds(end, 1, 1)
    return socket.socket(fileno=files[0]) if files else None


class _Early:
    """The first worker, started while the supervisor still imports."""

    def __init__(self) -> None:
        self._spawned: Spawned | None = None
        self._command: Sequence[str] = ()

    def start(self, command: Sequence[str]) -> None:
        """Start the worker."""
        self._command, self._spawned = command, spawn(command)

    def take(self, command: Sequence[str]) -> Spawned | None:
        """Return the worker to its first caller; None to all others. It ends when another program is wanted."""
        found, self._spawned = self._spawned, None
        if found is not None and list(command) != list(self._command):
            found.end.close()
            found.process.terminate()
            found.process.wait()
            return None
        return found


early = _Early()
