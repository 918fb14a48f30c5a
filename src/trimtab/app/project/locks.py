"""Locks of a project: one loop, one replay, one training of a model at a time.

The system's own locks (flock) on files in the run folder: a process that dies gives its lock back. The file says who
holds it. They hold on one machine, and between machines where the folder's file system carries flock.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.errors import StageError, StoreError, Temporary

ATTEMPTS = 10
PAUSE_SECONDS = 0.01
"""`holder` takes a lock for an instant, so a lock is tried several times before it counts as held."""
WAIT_SECONDS = 0.2
LOOP, REPLAY = "loop", "replay"


class Locked(StageError, Temporary):
    """Another process holds the lock."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock, since when, and what for."""

    pid: int
    host: str
    since: datetime
    doing: str

    def __str__(self) -> str:
        return f"{self.doing} (process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC)"


def holder(workspace: Workspace, name: str) -> Holder | None:
    """Return who holds a lock, or None when it is free."""
    path = _path(workspace, name)
    if not path.exists():
        return None
    file = _open(path)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(path)
    finally:
        os.close(file)
    return None


@contextmanager
def locked(workspace: Workspace, name: str, doing: str, *, why: str, wait: bool = False) -> Iterator[None]:
    """Hold a lock. doing: what for, in words; why: what the person who is refused should know.

    wait: until it is free. Raises Locked when another process has it.
    """
    path = _path(workspace, name)
    file = _open(path)
    try:
        attempt = 1
        while not _try(file):
            if not wait and attempt == ATTEMPTS:
                raise Locked(f"{_read(path) or 'another process'} is already running. {why}")
            workspace.clock.sleep(WAIT_SECONDS if wait else PAUSE_SECONDS)
            attempt += 1
        found = Holder(pid=os.getpid(), host=socket.gethostname(), since=workspace.now(), doing=doing)
        os.ftruncate(file, 0)
        os.pwrite(file, msgspec.json.encode(found) + b"\n", 0)
        yield
    finally:
        os.close(file)


@contextmanager
def only_loop(workspace: Workspace, doing: str) -> Iterator[None]:
    """Be the one process that takes in the log and decides. Raises Locked."""
    why = "A project has one loop, or the same work would be done twice: let it do it, or stop it first"
    with locked(workspace, LOOP, doing, why=why):
        yield


@contextmanager
def only_training(workspace: Workspace, model: str, doing: str, *, wait: bool = False) -> Iterator[None]:
    """Be the one process that trains a model. Raises Locked, or waits."""
    why = f"Model '{model}' is trained by one process at a time: wait for its end, then look at `trimtab status`"
    with locked(workspace, f"training-{model}", doing, why=why, wait=wait):
        yield


def _path(workspace: Workspace, name: str) -> Path:
    return workspace.run_folder / f"{name}.lock"


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{path}: cannot open the lock: {error.strerror}") from None


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None  # another process is writing it
