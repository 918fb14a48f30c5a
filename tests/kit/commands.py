"""Commands as a user types them."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from kit.waiting import PATIENCE_S
from trimtab.cli.calling import call


def trimtab(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own. With check, it must exit with 0."""
    command = [sys.executable, "-m", "trimtab.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=6 * PATIENCE_S)
    return _checked(done) if check else done


def typed(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command as the console script does, in this process, which has imported already what takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    before, interrupt = sys.argv, signal.getsignal(signal.SIGINT)
    sys.argv = ["trimtab", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = call()
    finally:
        sys.argv = before
        signal.signal(signal.SIGINT, interrupt)
    done = subprocess.CompletedProcess(["trimtab", *map(str, arguments)], code, out.getvalue(), err.getvalue())
    return _checked(done) if check else done


def run_commands_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs that run in this process start `trimtab` as `typed` does, and all other programs as usual."""
    usual = subprocess.run

    def run(command: Any, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[Any]:
        if command[0] != "trimtab":
            return usual(command, *arguments, **options)
        done = typed(*command[1:], check=False)
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.encode(), done.stderr.encode())

    monkeypatch.setattr(subprocess, "run", run)


def _checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, f"{done.args} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
