"""Commands as a user types them."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

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


def _checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, f"{done.args} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
