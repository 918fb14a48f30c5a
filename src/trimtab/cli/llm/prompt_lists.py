"""The verb that lists, shows and compares prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from trimtab.app.llm.prompt_listing import (
    PromptDiff,
    PromptRow,
    PromptVersion,
    Use,
    diff_prompts,
    find_version,
    list_prompts,
    used_by,
)
from trimtab.cli.context import Context, Verbs, require_action
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.errors import UsageError

app = Verbs()
ACTIONS = ("list", "show", "diff", "used-by")
TIME = "%Y-%m-%d %H:%M"
VERSION_HELP = "A prompt as the files have it, or a version of it as NAME@3 or NAME@champion; of used-by any name."


@app.verb()
def prompts(
    context: Context,
    action: Annotated[
        str, typer.Argument(metavar="[list|show|diff|used-by]", help="What to do; list by default.")
    ] = "list",
    a: Annotated[str | None, typer.Argument(metavar="[NAME[@VERSION]]", help=VERSION_HELP)] = None,
    b: Annotated[
        str | None,
        typer.Argument(metavar="[NAME[@VERSION]]", help="The version that `diff` compares with it."),
    ] = None,
) -> None:
    """List prompts, show a version, compare two, or say who uses what.

    `diff` without versions compares the champion with the files.
    """
    require_action("prompts", action, ACTIONS)
    workspace = context.workspace
    if b is not None and action != "diff":
        raise UsageError(f"trimtab prompts {action} takes one name; leave '{b}' out")
    if action == "list":
        if a is not None:
            raise UsageError(f"trimtab prompts list takes no prompt; trimtab prompts show {a}")
        context.show(list_prompts(workspace), show_rows)
    elif action == "used-by":
        context.show(used_by(workspace, a), show_uses)
    elif action == "show":
        context.show(find_version(workspace, a or _only(context)), show_version)
    else:
        name = a or _only(context)
        if b is None:
            name, b = (f"{name}@champion", name) if "@" not in name else (name, name.partition("@")[0])
        context.show(diff_prompts(find_version(workspace, name), find_version(workspace, b)), show_diff)


def _only(context: Context) -> str:
    return context.workspace.project.definitions.prompt().name


def show_rows(rows: Sequence[PromptRow]) -> None:
    """Print prompts, one line each."""
    if not rows:
        say("definitions.py defines no prompt; an example: trimtab init llm")
        return
    made = table("Prompts", "prompt", "endpoint", "model", ">versions", "serves", "files", "judged by")
    for row in rows:
        serves = ", ".join(
            f"{each.role} {each.version}" + (f" ({each.weight:g} %)" if each.role == "challenger" else "")
            for each in row.serving
        )
        files = "not registered" if row.same_as is None else f"version {row.same_as}"
        judged = ", ".join(f"{name}*" if name == row.quality else name for name in row.evaluators)
        made.add_row(row.name, row.endpoint, row.model, str(row.versions), serves or "nothing", files, judged)
    console.print(made)
    say("* decides which version is better")


def show_version(found: PromptVersion) -> None:
    """Print a version as Markdown, after what is known of its bundle."""
    say(f"version   {found.name}", f"hash      {found.prompt_hash[:12]}")
    if found.bundle is not None:
        bundle = found.bundle
        say(
            f"made      {bundle.created_at:{TIME}} by run {bundle.run[:8]}",
            f"endpoint  {bundle.endpoint}",
            f"serves    {', '.join(found.roles) or 'not'}",
        )
    say("", found.file.rstrip())


def show_diff(diff: PromptDiff) -> None:
    """Print what differs between two versions."""
    if not diff.fields:
        say(f"{diff.a} and {diff.b} are the same")
        return
    say(f"{diff.a} and {diff.b} differ in: {', '.join(diff.fields)}")
    for line in diff.text.splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(line, style=style, markup=False, highlight=False)


def show_uses(uses: Sequence[Use]) -> None:
    """Print who uses what, one line each."""
    if not uses:
        say("no prompt uses anything")
        return
    made = table("Who uses what", "kind", "name", "prompts in the files", "versions in service")
    for use in uses:
        made.add_row(use.kind.replace("_", " "), use.name, ", ".join(use.prompts), ", ".join(use.versions))
    console.print(made)
