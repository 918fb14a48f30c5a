"""What a shell is told: the exit code of every kind of error, and one line on standard error instead of a traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer

from trimtab.cli.calling import call
from trimtab.cli.interrupting import Interrupted
from trimtab.cli.verbs import VERBS
from trimtab.errors import (
    ActionError,
    CheckFailed,
    Conflict,
    DataError,
    DefinitionError,
    GateRefused,
    MissingExtra,
    NotFound,
    PolicyError,
    StageError,
    StoreError,
    TrainerFailed,
    UsageError,
)

Trimtab = Callable[..., int]
PASSED, FAILED, WRONG_USAGE, INFRASTRUCTURE, INTERRUPTED = 0, 1, 2, 3, 130


@pytest.fixture
def trimtab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trimtab]:
    """Return a function that calls a verb as the console script does, and gives the exit code."""
    before = signal.getsignal(signal.SIGINT)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["trimtab", *arguments])
        return call()

    yield run
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def failing(trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Return a function that calls a verb that raises."""

    def run(error: BaseException) -> int:
        app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

        @app.command()
        def fail() -> None:
            raise error

        app.callback()(lambda: None)  # a verb is a command of a group, also where it is the only one

        module = ModuleType("trimtab.cli.failing")
        module.app = app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(VERBS, "fail", ("failing", "Fail."))
        return trimtab("fail")

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("a row is wrong"), FAILED),
        (CheckFailed("a check failed"), FAILED),
        (GateRefused("a gate failed"), FAILED),
        (TrainerFailed("the trainer failed"), FAILED),
        (ActionError("nothing to restore"), FAILED),
        (UsageError("no such model"), WRONG_USAGE),
        (PolicyError("no such key"), WRONG_USAGE),
        (DefinitionError("no such column"), WRONG_USAGE),
        (StageError("not trained yet"), INFRASTRUCTURE),
        (StoreError("the store is away"), INFRASTRUCTURE),
        (NotFound("no such record"), INFRASTRUCTURE),
        (Conflict("somebody else wrote first"), INFRASTRUCTURE),
        (MissingExtra("grpcio", "grpc"), INFRASTRUCTURE),
        (ZeroDivisionError("nobody thought of it"), INFRASTRUCTURE),
        (Interrupted(), INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_kind_of_error_has_its_exit_code_and_says_what_it_is(
    failing: Callable[[BaseException], int], error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == code
    said = capsys.readouterr()
    assert (str(error) or "interrupted") in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_who_reads_no_further_is_no_failure(
    failing: Callable[[BaseException], int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "output").open("w") as output:  # its descriptor is pointed elsewhere then
        monkeypatch.setattr(sys, "stdout", output)
        assert failing(BrokenPipeError()) == PASSED


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--version"], PASSED, "trimtab "),
        (["--help"], PASSED, "usage: trimtab VERB"),
        ([], PASSED, "usage: trimtab VERB"),
        (["stats"], WRONG_USAGE, "no command 'stats'. Did you mean 'status'?"),
        (["init", "--temlpate"], WRONG_USAGE, "--temlpate"),
        (["history", "--project", "FOLDER"], WRONG_USAGE, "trimtab.yaml"),
    ],
)
def test_a_command_line_is_answered_with_words_and_a_code(
    trimtab: Trimtab, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    assert trimtab(*(str(tmp_path) if each == "FOLDER" else each for each in arguments)) == code
    said = capsys.readouterr()
    assert words in (said.err if code else said.out)


def test_a_level_of_the_log_that_does_not_exist_is_wrong_usage(
    trimtab: Trimtab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_LOG_LEVEL", "DEBUGG")
    assert trimtab("--version") == WRONG_USAGE
    assert "Did you mean 'DEBUG'?" in capsys.readouterr().err


def test_a_replay_that_ends_before_it_begins_is_a_wrong_command(
    trimtab: Trimtab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = trimtab("replay", "-p", str(tmp_path), "--from", "2024-03-01", "--to", "2024-02-01")
    assert code == WRONG_USAGE
    assert "--to 2024-02-01 must be later than --from 2024-03-01" in capsys.readouterr().err
