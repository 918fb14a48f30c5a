"""Writes what is said of the verbs elsewhere from their functions: python scripts/command_pages.py.

The first line of a verb's docstring goes into cli/verbs.py (for `trimtab --help`) and the README's table; its arguments
and options become the usage line in docs/commands.md. The rest of that page is written by hand.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import typer

from trimtab.cli.verbs import VERBS

ROOT = Path(__file__).parents[1]
TABLE, README, PAGE = ROOT / "src/trimtab/cli/verbs.py", ROOT / "README.md", ROOT / "docs/commands.md"
VALUES = {"<str>": "TEXT", "<int>": "NUMBER", "<int range>": "NUMBER"}
"""By the type that typer shows: the word for a value of an option without a metavar."""
ROWS = re.compile(r"(?<=\n\| Command \| What it does \|\n\|---\|---\|\n)(\|.*\n)*")


def pages() -> dict[Path, str]:
    """Return the text that each file should have."""
    found = {path: path.read_text(encoding="utf-8") for path in (TABLE, README, PAGE)}
    commands = {verb: command(verb) for verb in VERBS}
    summaries = {verb: str(each.help).split("\n\n")[0].replace("\n", " ") for verb, each in commands.items()}
    for verb, summary in summaries.items():
        found[TABLE] = re.sub(rf'(    "{verb}": \("[\w.]+"), ".*"\)', rf'\1, "{summary}")', found[TABLE])
        usage = rf"(### `{verb}`\n\n    )trimtab .*"
        found[PAGE] = re.sub(usage, lambda line, verb=verb: line[1] + written(commands[verb]), found[PAGE])
    found[README] = ROWS.sub("".join(f"| `{verb}` | {text} |\n" for verb, text in summaries.items()), found[README])
    return found


def command(verb: str) -> typer.main.TyperCommand:
    """Return a verb as the command line sees it."""
    group = typer.main.get_command(import_module(f"trimtab.cli.{VERBS[verb][0]}").app)
    return group.commands[verb]


def written(command: typer.main.TyperCommand) -> str:
    """Return the usage line of a verb: arguments, then options."""
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    parts = [argument(each) for each in arguments] + [option(each, typer.Context(command)) for each in options]
    return " ".join(["trimtab", str(command.name), *parts])


def argument(parameter: typer.core.TyperArgument) -> str:
    """Return an argument as a usage line has it."""
    name = parameter.metavar or str(parameter.name).upper()
    return name if parameter.required else f"[{name}]"


def option(parameter: typer.core.TyperOption, context: typer.Context) -> str:
    """Return an option as a usage line has it."""
    flag = max(parameter.opts, key=len)
    if parameter.is_flag:
        return f"[{' | '.join((flag, *parameter.secondary_opts))}]"
    shown = parameter.display_type(context)
    text = f"{flag} {parameter.metavar or VALUES.get(shown, shown.strip('<>'))}"
    return (text if parameter.required else f"[{text}]") + ("..." if parameter.multiple else "")


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path)
