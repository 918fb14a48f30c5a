"""Turns the command line into a call, and errors into messages and exit codes.

0 passed, 1 failed a check or a gate, 2 wrong usage, 3 infrastructure, 130 interrupted.
"""

from __future__ import annotations

import logging
import sys
import traceback
from importlib import import_module

import click
import typer
from typer.core import TyperGroup

from trimtab import __version__, settings
from trimtab.cli.verbs import VERBS
from trimtab.errors import TrimtabError, nearest

INTERRUPTED = 130
INFRASTRUCTURE = 3


class LazyVerbs(TyperGroup):
    """A group that imports a verb's module when the verb is called, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all verbs, in the order of the loop."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb."""
        if cmd_name not in VERBS:
            return None
        module = import_module(f"trimtab.cli.{VERBS[cmd_name][0]}")
        group = typer.main.get_group(module.app)
        return group.commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; a wrong one is told the nearest."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            raise click.UsageError(f"no command '{args[0]}'.{nearest(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help page in plain text."""
        click.Group.format_help(self, ctx, formatter)


app = typer.Typer(cls=LazyVerbs, add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def trimtab(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
) -> None:
    """MLOps that steers itself: one loop from data to production and back."""
    if version:
        typer.echo(f"trimtab {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main() -> int:
    """Run the command line and return the exit code."""
    level = settings.read().log_level.upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        result = app(standalone_mode=False, prog_name="trimtab")
    except TrimtabError as error:
        _complain(str(error), level)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        typer.echo("interrupted; what was finished is kept, run the command again to go on", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:  # the last border: a user never sees a traceback unless asked for
        _complain(f"{type(error).__name__}: {error}\nFor the traceback: TRIMTAB_LOG_LEVEL=DEBUG trimtab ...", level)
        return INFRASTRUCTURE
    return result if isinstance(result, int) else 0


def _complain(message: str, level: str) -> None:
    if level == "DEBUG":
        traceback.print_exc()
    typer.echo(f"error: {message}", err=True)
