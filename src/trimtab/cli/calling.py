"""Turns the command line into a call, and errors into messages and exit codes.

0 passed, 1 failed a check or a gate, 2 wrong usage, 3 infrastructure, 130 interrupted. The module of a
verb is imported when the verb is called, so that help is quick and the gateway loads only what it needs.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module

import typer

from trimtab import __version__, settings
from trimtab.app.project.child_processes import CHAT_WORKER, WORKER
from trimtab.cli.interrupting import INTERRUPTED, Interrupted, raise_interrupted
from trimtab.cli.verbs import VERBS
from trimtab.errors import TrimtabError, nearest
from trimtab.serving.processes.spawning import early
from trimtab.serving.telemetry.logs import LEVELS, set_level

TRAINING_THREADS = "1"
"""Threads of OpenMP, unless the environment sets another number. More of them slow training down on busy cores, because
a waiting thread uses a core."""
WRONG_USAGE = 2
INFRASTRUCTURE = 3


def call() -> int:
    """Run the command line and return the exit code."""
    settings.offer(OMP_NUM_THREADS=TRAINING_THREADS)
    level = settings.read().log_level.upper()
    if level not in LEVELS:
        typer.echo(f"error: TRIMTAB_LOG_LEVEL={level} is no level.{nearest(level, LEVELS)}", err=True)
        return WRONG_USAGE
    set_level(level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        code = _call(sys.argv[1:])
        sys.stdout.flush()
        return code
    except TrimtabError as error:
        _complain(str(error), level)
        return error.exit_code
    except Interrupted:
        typer.echo("interrupted; what was finished is kept, run the command again to go on", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except Exception as error:  # the last border: a user never sees a traceback unless asked for
        _complain(f"{type(error).__name__}: {error}\nFor the traceback: TRIMTAB_LOG_LEVEL=DEBUG trimtab ...", level)
        return INFRASTRUCTURE


def _call(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        typer.echo(_help())
        return 0
    if arguments[0] == "--version":
        typer.echo(f"trimtab {__version__}")
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        typer.echo(f"error: no command '{verb}'.{nearest(verb, VERBS)} All of them: trimtab --help", err=True)
        return WRONG_USAGE
    if verb == "serve" and "--help" not in arguments:
        early.start(CHAT_WORKER if "prompts" in arguments else WORKER)  # it loads while this process does
    group = import_module(f"trimtab.cli.{VERBS[verb][0]}")
    raise_interrupted()
    try:
        typer.main.get_command(group.app)(args=arguments, prog_name="trimtab")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # the command-line library makes 1 of it
            return _unread()
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(
        [
            "trimtab: MLOps that steers itself, one loop from data to production and back",
            "",
            "usage: trimtab VERB [OPTIONS]      trimtab VERB --help",
            "",
            *lines,
            "",
            "exit codes: 0 passed, 1 failed a check or a gate, 2 wrong usage, 3 infrastructure",
        ]
    )


def _unread() -> int:
    """Return 0: the reader closed the pipe, as `head` does. Nothing more is written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _complain(message: str, level: str) -> None:
    if level == "DEBUG":
        traceback.print_exc()
    typer.echo(f"error: {message}", err=True)
