"""Ctrl-C at any moment of a command: one line at most, 130, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import importlib.abc, os, signal, sys, time
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
sys.meta_path.insert(0, Finder())
from trimtab.cli import main
sys.argv = ["trimtab", {verb!r}]
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("verb", "module"),
    [
        ("serve", "typer"),
        ("serve", "trimtab.cli.processes.serve"),
        ("status", "trimtab.cli.look"),
        ("--version", "msgspec"),
    ],
)
def test_ctrl_c_while_modules_load_is_one_line_and_130(verb: str, module: str, tmp_path: Path) -> None:
    # given a command that is interrupted when it comes to import a module
    program = PROGRAM.format(name=module, verb=verb)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    # then it ends at once, and so do the processes that it had started
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_worker_that_has_only_begun_does_not_hear_ctrl_c() -> None:
    # given a process that the gateway starts, interrupted with its whole group before it has set a handler
    program = (
        "import os, signal, sys\n"
        "from trimtab.serving.processes.spawning import spawn\n"
        "child = spawn([sys.executable, '-c', 'import os, signal; os.kill(os.getpid(), signal.SIGINT); print(1)'])\n"
        "sys.exit(child.process.wait())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


# a verb that prints as most do, without the seconds that their imports take
ECHO = """
import sys
from types import ModuleType
import typer
from trimtab.cli import main
from trimtab.cli.verbs import VERBS
app = typer.Typer(add_completion=False)
app.callback()(lambda: None)  # a verb is a command of a group, also where it is the only one
app.command("echo")(lambda: typer.echo("{}"))
module = sys.modules["trimtab.cli.echo"] = ModuleType("trimtab.cli.echo")
module.app = app
VERBS["echo"] = ("echo", "Print.")
sys.argv = ["trimtab", "echo"]
sys.exit(main())
"""


@pytest.mark.parametrize(
    "command",
    [["-m", "trimtab.cli", "--help"], ["-c", ECHO], ["-m", "trimtab.cli", "doctor"]],
    ids=["help", "text", "tables"],
)
def test_output_that_nobody_reads_to_its_end_is_no_failure(command: list[str], tmp_path: Path) -> None:
    # given a reader that has gone before anything was written, as `head` may
    reader, writer = os.pipe()
    os.close(reader)
    # when a command writes by itself, by the library that reads the command line, or by the one that draws tables
    done = subprocess.run(
        [sys.executable, *command], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
