"""`trimtab report`: what it refuses, before anything is read."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from trimtab.cli import look
from trimtab.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("modl", "--html", "a.html"), "Did you mean 'model'?"),
        (("model", "delay"), "which file? trimtab report model delay --html FILE"),
        (("model", "--versions", "1", "2", "--html", "a.html"), "--versions belongs to a comparison"),
        (("comparison", "--versions", "2", "2", "--html", "a.html"), "expected two different versions"),
        (("decision", "--html", "a.html"), "expected a number, such as 7, or MODEL/7"),
        (("decision", "delay/seven", "--html", "a.html"), "'delay/seven' is none"),
        (("decision", "a/b/c/7", "--html", "a.html"), "'a/b/c/7' is none"),
    ],
)
def test_wrong_arguments_are_named_with_what_is_right(arguments: tuple[str, ...], words: str) -> None:
    refused = CliRunner().invoke(look.app, ["report", *arguments]).exception
    assert isinstance(refused, UsageError)
    assert words in str(refused)
