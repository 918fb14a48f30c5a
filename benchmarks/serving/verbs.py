"""Runs verbs of the command line in one process of their own: `python -m benchmarks.serving.verbs`.

It imports the libraries once: on two cores a process for each verb would take most of the processor time of gateway and
clients. Everything else is the same as in a command, from its arguments to MLflow's aliases.
"""

from __future__ import annotations

import io
import select
import subprocess
import sys
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import msgspec

from trimtab import settings
from trimtab.cli.entry import main as run_verb
from trimtab.records.serving import Revision

NICE = ("nice", "-n", "10")
"""An operator's machine has processors of its own; here the verbs stand back behind gateway and clients."""


class Failed(Exception):
    """A verb ended with another exit code than 0."""


class Said(msgspec.Struct):
    """What a verb printed."""

    code: int
    out: str
    err: str


class Operator:
    """A context: the process that runs verbs on a project."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._typed = ""

    def __enter__(self) -> Operator:
        self._process = subprocess.Popen(
            [*NICE, sys.executable, "-m", "benchmarks.serving.verbs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=settings.child_environment(OMP_NUM_THREADS="1"),
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def type(self, verb: str, *arguments: str) -> None:
        """Begin a verb."""
        assert self._process.stdin is not None  # a pipe was asked for
        self._typed = " ".join(["trimtab", verb, *arguments])
        line = [verb, "--project", str(self._project), "--json", *arguments]
        self._process.stdin.write(msgspec.json.encode(line) + b"\n")
        self._process.stdin.flush()

    @property
    def done(self) -> bool:
        """Whether the verb has ended."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def revision(self) -> Revision:
        """Wait for the verb's end; return the revision that it wrote. Raises Failed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self._typed}: the process of the verbs is gone")
        said = msgspec.json.decode(line, type=Said)
        if said.code:
            raise Failed(f"{self._typed} ended with {said.code}: {' '.join(said.err.strip().splitlines()[-1:])}")
        return msgspec.json.decode(said.out, type=Revision)


def obey(lines: Iterable[bytes]) -> None:
    """Run the verbs that come as lines of JSON; answer each with what it said."""
    answers = sys.stdout.buffer
    for line in lines:
        sys.argv = ["trimtab", *msgspec.json.decode(line, type=list[str])]
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run_verb()
        answers.write(msgspec.json.encode(Said(code, out.getvalue(), err.getvalue())) + b"\n")
        answers.flush()


if __name__ == "__main__":
    obey(sys.stdin.buffer)
