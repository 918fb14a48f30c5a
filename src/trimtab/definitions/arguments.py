"""Checks the arguments of definitions: names, texts, columns, functions.

A wrong argument raises DefinitionError, which names the object, what was expected and the nearest valid value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from trimtab import units
from trimtab.errors import DefinitionError, nearest
from trimtab.places import of_function


def check_name(kind: str, name: str) -> None:
    """Check that a name can be part of a feature's name: `view__feature`."""
    if not isinstance(name, str) or not name.isidentifier() or "__" in name:
        raise DefinitionError(
            f"{kind} name {name!r} is not valid; expected letters, digits and single underscores, such as 'my_name'"
        )


def check_text(where: str, value: object, example: str) -> None:
    """Check that a value is text and not empty."""
    if not isinstance(value, str) or not value:
        raise DefinitionError(f"{where} is {value!r}; expected text, such as '{example}'")


def check_function(where: str, function: Callable[..., Any], inputs: Sequence[str]) -> None:
    """Check that a function takes the named columns, one argument each, and is neither async nor a generator."""
    if not check_columns(f"{where}: inputs", inputs):
        raise DefinitionError(f"{where} has no inputs; name the request columns it takes")
    wanted = len(inspect.signature(function).parameters)
    if wanted != len(inputs):
        raise DefinitionError(f"{where} takes {wanted} arguments but names {len(inputs)} inputs: {list(inputs)}")
    check_plain(where, function)


def check_plain(where: str, function: Callable[..., Any], takes: Sequence[str] = ()) -> None:
    """Check that a function is neither async nor a generator. takes: its arguments, where they are fixed."""
    wanted = list(inspect.signature(function).parameters)
    if takes and len(wanted) != len(takes):
        raise DefinitionError(f"{where} takes {wanted}; expected {len(takes)} arguments: ({', '.join(takes)})")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(f"{where} is async or a generator; expected a plain function that returns arrays")


def check_trainer(where: str, function: Callable[..., Any], *, before: Callable[..., Any] | None) -> None:
    """Check that a trainer takes data, params and seed first, and is the only one. before: the earlier one, or None."""
    if before is not None:
        two = f"{of_function(before)} and {of_function(function)}"
        raise DefinitionError(f"{where} has two trainers, {two}; remove one")
    parameters = list(inspect.signature(function).parameters.values())
    first = [each for each in parameters[:3] if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    if len(first) != 3 or any(each.kind not in by_name for each in parameters[3:]):
        raise DefinitionError(
            f"{where}: its trainer takes {[each.name for each in parameters]}; expected three arguments: "
            "(data, params, seed), and parameters of the policy after a *: (data, params, seed, *, max_depth=6)"
        )


def trainer_parameters(function: Callable[..., Any]) -> dict[str, bool] | None:
    """Return the parameters that a trainer declares by name, and whether each must be given.

    None for a trainer that takes any: it declares none, or has **kwargs.
    """
    named = list(inspect.signature(function).parameters.values())[3:]
    if not named or takes_any(function):
        return None
    return {each.name: each.default is each.empty for each in named}


def takes_any(function: Callable[..., Any]) -> bool:
    """Return True if a trainer takes parameters of any name, by **kwargs."""
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(function).parameters.values())


def check_brought(where: str, inputs: Sequence[str], columns: Sequence[str], *, made: Sequence[str]) -> None:
    """Check that all inputs are request columns and none is a computed feature. made: names of computed features."""
    for name in inputs:
        if name in columns:
            continue
        if name in made:
            raise DefinitionError(
                f"{where}: '{name}' is a computed feature; a fallback must score without computed features, so it "
                f"takes request columns.{nearest(name, columns)}"
            )
        raise DefinitionError(f"{where}: '{name}' is no request column of the model.{nearest(name, columns)}")


def source_of(function: Callable[..., Any]) -> str:
    """Return the source code of a function, or its name when Python cannot read the code."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return function.__name__


def check_columns(where: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return column names as a tuple. A single text is refused, because as a sequence it would give its letters."""
    if isinstance(names, str):
        raise DefinitionError(f"{where} is '{names}'; expected a list, such as ['{names}']")
    found = tuple(names)
    for name in found:
        check_text(f"{where}: one of them", name, "carrier")
        if found.count(name) > 1:
            raise DefinitionError(f"{where}: '{name}' is there twice")
    return found


def check_kind(where: str, value: object, kind: type, example: str = "") -> None:
    """Check that a value is an instance of `kind`. example: the class that a user calls, if it is another one."""
    if not isinstance(value, kind):
        raise DefinitionError(f"{where} is {value!r}; expected one made with {example or kind.__name__}(...)")


def duration(where: str, text: str) -> int:
    """Return a duration such as '7d' in microseconds."""
    try:
        return units.micros(text)
    except ValueError as error:
        raise DefinitionError(f"{where}: {error}") from None


def optional_duration(where: str, text: str | None) -> int | None:
    """Return a duration in microseconds, None for None."""
    return None if text is None else duration(where, text)


def bare_path(path: str) -> str:
    """Return a source's path without a trailing slash or glob, so that a folder equals the glob of its files."""
    bare = path.removesuffix("/")
    for pattern in ("/*.parquet", "/*.csv", "/*.jsonl", "/*.ndjson", "/*", "/**"):
        bare = bare.removesuffix(pattern)
    return bare.removeprefix("./")
