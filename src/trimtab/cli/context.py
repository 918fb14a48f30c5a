"""The options that most verbs share, declared once, and how a verb gets their values and prints its result."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from trimtab import settings
from trimtab.app.delivery.stage_journal import StageClock, error_text
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import parse_time
from trimtab.definitions.collection import Served
from trimtab.definitions.models import Model
from trimtab.errors import UsageError, nearest

T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)
Verb = TypeVar("Verb", bound=Callable[..., None])

Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
AskedReason = Annotated[str | None, typer.Option("--reason", help="Why, for the record; asked for when left out.")]
Force = Annotated[bool, typer.Option("--force", help="Also while the model is frozen.")]
ASKED = "asked for on the command line"
"""The reason that is recorded without `--reason`."""
_DEFAULTS = settings.read()


@dataclass(frozen=True, kw_only=True)
class Context:
    """The values of the shared options of one command. Each field declares its option."""

    project: Annotated[
        Path, typer.Option("--project", "-p", metavar="FOLDER", help="Project folder.", show_default=False)
    ] = _DEFAULTS.project
    env: Annotated[str, typer.Option("--env", metavar="NAME", help="Entry of `environments:` in trimtab.yaml.")] = (
        _DEFAULTS.environment
    )
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Model; needed when there are several.")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    @cached_property
    def workspace(self) -> Workspace:
        """The project with its stores, opened on first use."""
        return open_workspace(self.project, self.env)

    @property
    def definition(self) -> Model:
        """The model that `--model` names, or the only one. Raises DefinitionError."""
        return self.workspace.model(self.model)

    @property
    def served(self) -> Served:
        """The model or prompt that `--model` names, or the only one of all. Raises DefinitionError."""
        return self.workspace.served(self.model)

    def show(self, result: T, as_text: Callable[[T], object]) -> None:
        """Print the result of a verb: as JSON with `--json`, else by `as_text`."""
        if self.json:
            print_json(result)
        else:
            as_text(result)


OPTIONS = inspect.signature(Context, eval_str=True).parameters
"""By field of Context: its option and default, as typer reads them from a signature."""


class Verbs(typer.Typer):
    """The verbs of one file."""

    def __init__(self) -> None:
        super().__init__(pretty_exceptions_enable=False, add_completion=False)
        self.callback()(lambda: None)  # so that a verb is a subcommand also where it is the only one of its file

    def verb(
        self, *, model: bool = False, json: bool = True, name: str | None = None, stage: bool = False
    ) -> Callable[[Verb], Verb]:
        """Return a decorator for a function whose first argument is a Context; its other arguments are its own options.

        Args:
            model: Give the verb the option `--model`.
            json: Give the verb the option `--json`.
            name: Name of the verb; by default that of the function.
            stage: It is a stage of a pipeline, which the journal of stages notes.
        """

        def register(function: Verb) -> Verb:
            self.command(name)(_with_shared(function, model=model, json=json, stage=stage))
            return function

        return register

    def group(self, *, model: bool = False, json: bool = True, stage: bool = False) -> Callable[[Verb], Verbs]:
        """Return a decorator for a verb with actions. The function runs where no action is named.

        Arguments as for `verb`. The decorated name stands for the actions, which `take` adds.
        """

        def register(function: Verb) -> Verbs:
            call = _with_shared(function, model=model, json=json, stage=stage)

            def start(command: typer.Context, **values: Any) -> None:
                if command.invoked_subcommand is None:
                    call(**values)
                    return
                for option in command.command.params:
                    source = command.get_parameter_source(str(option.name))
                    if source is not None and source.name == "COMMANDLINE":
                        action = f"trimtab {function.__name__} {command.invoked_subcommand}"
                        raise UsageError(f"{option.opts[0]} stands before the action; write: {action} {option.opts[0]}")

            start.__doc__ = function.__doc__
            first = inspect.Parameter("command", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
            signature = inspect.signature(call)
            own = signature.replace(parameters=[first, *signature.parameters.values()])
            start.__signature__ = own  # type: ignore[attr-defined]  # what inspect.signature returns for it
            actions = Verbs()
            actions.callback(invoke_without_command=True)(start)
            self.add_typer(actions, name=function.__name__)
            return actions

        return register

    def take(self, *others: Verbs) -> None:
        """Take in the verbs of other files."""
        for other in others:
            self.registered_commands += other.registered_commands


def _with_shared(function: Callable[..., None], *, model: bool, json: bool, stage: bool) -> Callable[..., None]:
    """Return a function for typer that makes the Context of a verb from the shared options."""
    shared = [OPTIONS[name] for name in ("project", "env", *["model"] * model, *["json"] * json)]
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    def call(**values: Any) -> None:
        context = Context(**{each.name: values.pop(each.name) for each in shared})
        with _noted(context, function.__name__, model=model) if stage else nullcontext():
            function(context, **values)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([each.replace(kind=keyword) for each in (*own, *shared)])
    call.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature returns for it
    return call


@contextmanager
def _noted(context: Context, stage: str, *, model: bool) -> Iterator[None]:
    """Note a stage in the journal of the project, if the verb came to open it. model: it is of one model."""
    clock, error = StageClock(stage), ""
    try:
        yield
    except BaseException as failed:
        error = error_text(failed)
        raise
    finally:
        if "workspace" in vars(context):
            names = list(context.workspace.project.definitions.models)
            name = context.model or (names[0] if len(names) == 1 else None)
            clock.note(context.workspace, name if model else None, error)


def option_time(option: str, text: str | None) -> datetime | None:
    """Parse a time that an option names. Raises UsageError."""
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise UsageError(
            f"{option}: '{text}' is no date or time; expected such as 2013-03-01 or 2013-03-01T05:00Z"
        ) from None


def option_choice(option: str, value: str | None, allowed: Sequence[Choice]) -> Choice | None:
    """Return the allowed value that an option names, None when it was left out. Raises UsageError."""
    found = next((each for each in allowed if each == value), None)
    if value is not None and found is None:
        raise UsageError(f"{option}: '{value}' is not known.{nearest(value, allowed)}")
    return found


def require_action(verb: str, action: str, actions: tuple[str, ...]) -> None:
    """Raise UsageError for an action that the verb does not have."""
    if action not in actions:
        raise UsageError(f"trimtab {verb} {action}: no such action.{nearest(action, actions)}")


def print_json(value: Any) -> None:
    """Print records or plain values as JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())
