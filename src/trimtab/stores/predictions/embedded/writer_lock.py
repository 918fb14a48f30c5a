"""The lock (flock) of a writer's name, which one process at a time holds."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from trimtab.clock import Clock
from trimtab.errors import StoreError
from trimtab.stores.predictions.embedded.segment_folder import lock_path, sync_folder

ATTEMPTS = 10
PAUSE_SECONDS = 0.01
"""Compaction briefly holds the locks of writers that have ended, so a writer tries several times."""


class WriterLock:
    """The lock of one writer. The system releases it when the process dies."""

    def __init__(self, folder: Path, writer: str, clock: Clock) -> None:
        self._folder = folder
        self._path = lock_path(folder, writer)
        self._writer = writer
        self._clock = clock
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, unless this object holds it. Raises StoreError when another process holds it."""
        if self._file is not None:
            return
        for attempt in range(ATTEMPTS):
            if self.try_acquire():
                return
            if attempt + 1 < ATTEMPTS:
                self._clock.sleep(PAUSE_SECONDS)
        holder = self._path.read_text(errors="replace").strip() or "unknown"
        raise StoreError(
            f"{self._folder}: process {holder} already writes this prediction log as writer '{self._writer}'; each "
            "name has one writer. Stop that gateway, or give this one a name or a folder of its own"
        )

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return True if it was."""
        file = self._open()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        with suppress(OSError):  # a full disk; the number is only for the error text
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self._folder.parent)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot open the lock of the prediction log: {error.strerror}") from None
