"""Settings: read from the environment, typed, documented."""

import os
from dataclasses import fields
from pathlib import Path

import pytest

from trimtab import settings
from trimtab.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
VARIABLES = [item.metadata["env"] for item in fields(Settings)]


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_variables_there_are_defaults() -> None:
    assert settings.read() == Settings()


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert settings.read() == Settings()


def test_variables_become_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_ENV", "production")
    monkeypatch.setenv("TRIMTAB_PROJECT", "some/where")
    monkeypatch.setenv("CI", "true")
    found = settings.read()
    assert (found.environment, found.project, found.ci) == ("production", Path("some/where"), True)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("YES", True), ("0", False), ("false", False)])
def test_truth(monkeypatch: pytest.MonkeyPatch, text: str, value: bool) -> None:
    monkeypatch.setenv("CI", text)
    assert settings.read().ci is value


def test_who_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert settings.login() == "root"
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # of a container, say
    assert settings.login() == "unknown"
    monkeypatch.setenv("USER", "ada")
    assert settings.login() == "ada"
    monkeypatch.setenv("TRIMTAB_USER", "grace")
    assert settings.login() == "grace"


def test_a_child_gets_everything_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_USER", "grace")
    child = settings.child_environment(OMP_NUM_THREADS="1")
    assert (child["TRIMTAB_USER"], child["OMP_NUM_THREADS"]) == ("grace", "1")


def test_an_offer_yields_to_what_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_TEST_SET", "mine")
    monkeypatch.setenv("TRIMTAB_TEST_UNSET", "")
    monkeypatch.delenv("TRIMTAB_TEST_UNSET")
    settings.offer(TRIMTAB_TEST_SET="offered", TRIMTAB_TEST_UNSET="offered")
    child = settings.child_environment()
    assert (child["TRIMTAB_TEST_SET"], child["TRIMTAB_TEST_UNSET"]) == ("mine", "offered")


@pytest.mark.parametrize("item", fields(Settings), ids=lambda item: str(item.name))
def test_every_setting_is_documented_with_its_default(item: object) -> None:
    field = next(each for each in fields(Settings) if each is item)
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{field.metadata['env']}` |")]
    assert len(rows) == 1
    shown = {"": "your login name", False: "false", None: "none"}.get(field.default, str(field.default))
    assert f"| {shown} |" in rows[0].replace("`", "")


def test_no_other_setting_is_documented() -> None:
    named = {line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")}
    assert named == set(VARIABLES)
