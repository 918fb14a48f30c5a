"""The error tree: what its docstring draws is what there is."""

import inspect
import pickle
import re

import pytest

from trimtab import errors
from trimtab.errors import MissingExtra, NotFound, TrimtabError, nearest


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Return error -> (parent, builtin) as the docstring of the module draws them."""
    found: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    text = inspect.getdoc(errors) or ""
    for line in text.split("\n\n")[1].splitlines():
        match = re.match(r"^ *([|` -]*)(\w+)(?: \((\w+)\))?", line)
        assert match, line
        depth = len(match[1]) // 4
        above = [*above[:depth], match[2]]
        found[match[2]] = (above[-2] if depth else None, match[3])
    return found


def classes() -> dict[str, type[TrimtabError]]:
    members = inspect.getmembers(errors, inspect.isclass)
    return {name: kind for name, kind in members if issubclass(kind, TrimtabError)}


def test_the_drawing_names_every_error_and_no_other() -> None:
    assert set(drawn()) == set(classes())


@pytest.mark.parametrize("name", sorted(classes()))
def test_an_error_stands_where_it_is_drawn(name: str) -> None:
    parent, builtin = drawn()[name]
    bases = [base.__name__ for base in classes()[name].__bases__]
    assert bases == [base for base in (parent or "Exception", builtin) if base]


@pytest.mark.parametrize("name", sorted(classes()))
def test_every_error_has_a_documented_exit_code(name: str) -> None:
    assert classes()[name].exit_code in (1, 2, 3)


def test_not_found_shows_its_text_without_quotes() -> None:
    assert str(NotFound("no table 'x'")) == "no table 'x'"
    assert str(NotFound()) == "not found"


def test_a_missing_extra_says_how_to_get_it_and_survives_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(MissingExtra("redis", "redis")))
    assert "pip install 'trimtab[redis]'" in str(error)
    assert (error.package, error.extra) == ("redis", "redis")
    assert isinstance(error, ImportError)


@pytest.mark.parametrize(
    ("name", "valid", "hint"),
    [
        ("accurracy", ["accuracy", "bias"], " Did you mean 'accuracy'?"),
        ("MB", ["mb", "kb"], " Did you mean 'mb'?"),
        ("zzz", ["b", "a"], " Valid: a, b."),
        ("zzz", [], ""),
        ("", ["a"], " Valid: a."),
    ],
)
def test_nearest(name: str, valid: list[str], hint: str) -> None:
    assert nearest(name, valid) == hint


def test_nearest_shows_a_dozen_names_at_most() -> None:
    hint = nearest("?", [f"name_{n:02}" for n in range(20)])
    assert hint.count("name_") == 12
    assert hint.endswith("name_11, ...")
