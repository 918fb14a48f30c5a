"""Secrets are named in definitions, and read from the environment only when they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

import trimtab as tt
from trimtab.definitions.secrets import reveal
from trimtab.errors import DefinitionError, StageError


def test_a_secret_is_printed_compared_and_hashed_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "s3cret")
    made = tt.secret("SHOP_TOKEN")
    assert repr(made) == "Secret(name='SHOP_TOKEN')"
    assert f"Bearer {made}" == "Bearer ${SHOP_TOKEN}"
    assert made == tt.secret("SHOP_TOKEN")
    assert hash(made) == hash(tt.secret("SHOP_TOKEN"))
    assert reveal(made, "here") == "s3cret"
    assert reveal(f"Bearer {made}!", "here") == "Bearer s3cret!"
    assert reveal("no secret, $5", "here") == "no secret, $5"


def test_a_mounted_file_holds_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    monkeypatch.setenv("SHOP_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    assert reveal(tt.secret("SHOP_TOKEN"), "here") == "from a file"
    monkeypatch.setenv("SHOP_TOKEN_FILE", str(tmp_path / "tokn"))
    with pytest.raises(StageError, match=r"SHOP_TOKEN_FILE names '.*tokn', which cannot be read"):
        reveal(tt.secret("SHOP_TOKEN"), "here")


def test_a_variable_that_is_not_set_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN_X", "s3cret")
    with pytest.raises(StageError) as wrong:
        reveal(tt.secret("SHOP_TOKENX"), "SQLSource 'orders'")
    assert str(wrong.value) == (
        "SQLSource 'orders': the environment variable SHOP_TOKENX is not set; it holds a secret. "
        "Did you mean 'SHOP_TOKEN_X'?"
    )


@pytest.mark.parametrize("name", ["", "two words", "1ST", "${A}"])
def test_a_name_that_no_variable_has_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="is no name of an environment variable"):
        tt.secret(name)
