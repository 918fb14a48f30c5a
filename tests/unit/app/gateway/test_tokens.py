"""Tokens: made once, kept as digests, ended by revocation or time; and the verb that does it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from trimtab.app.gateway import tokens
from trimtab.cli.token import app
from trimtab.clock import ManualClock
from trimtab.errors import UsageError
from trimtab.records.serving import Token
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.requests import Refused
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def opens(metadata: Metadata, clock: ManualClock, secret: str) -> bool:
    access = Access(Grants.of(tokens.grants(metadata, clock)), clock)
    try:
        access.check([(b"authorization", f"Bearer {secret}".encode())], "infer", "delay")
    except Refused:
        return False
    return True


def test_a_token_opens_the_gateway_until_it_is_revoked(metadata: Metadata, clock: ManualClock) -> None:
    token, secret = tokens.create(metadata, clock, "batch", models=["delay"], by="ada")
    assert opens(metadata, clock, secret)
    tokens.revoke(metadata, clock, "batch", reason="leaked", by="grace")
    assert not opens(metadata, clock, secret)
    (status,) = tokens.statuses(metadata, clock)
    assert (status.token, status.state) == (token, "revoked")
    assert status.revocation is not None
    assert (status.revocation.reason, status.revocation.by) == ("leaked", "grace")


def test_the_secret_is_kept_nowhere(metadata: Metadata, clock: ManualClock, tmp_path: Path) -> None:
    token, secret = tokens.create(metadata, clock, "batch", by="ada")
    assert secret.startswith("tt_")
    assert len(secret) == 67
    assert token.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    metadata.close()
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_token_expires(metadata: Metadata, clock: ManualClock) -> None:
    _, secret = tokens.create(metadata, clock, "batch", expires_in=timedelta(days=90), by="ada")
    assert opens(metadata, clock, secret)
    clock.sleep(timedelta(days=90).total_seconds())
    assert tokens.grants(metadata, clock) == ()
    assert [each.state for each in tokens.statuses(metadata, clock)] == ["expired"]


def test_a_name_is_free_again_when_its_token_has_ended(metadata: Metadata, clock: ManualClock) -> None:
    tokens.create(metadata, clock, "batch", by="ada")
    with pytest.raises(UsageError, match="there is a token 'batch' already"):
        tokens.create(metadata, clock, "batch", by="ada")
    tokens.revoke(metadata, clock, "batch", reason="rotated", by="ada")
    second, secret = tokens.create(metadata, clock, "batch", by="ada")
    assert second.id == "batch#2"
    assert opens(metadata, clock, secret)
    tokens.revoke(metadata, clock, "batch", reason="again", by="ada")
    assert not opens(metadata, clock, secret)
    assert tokens.revoke(metadata, clock, "batch", reason="once more", by="ada").reason == "again"


def test_grants_stay_equal_while_nothing_changes(metadata: Metadata, clock: ManualClock) -> None:
    for name in ("a", "b"):
        tokens.create(metadata, clock, name, by="ada")
    assert tokens.grants(metadata, clock) == tokens.grants(metadata, clock)
    assert {grant.name for grant in tokens.grants(metadata, clock)} == {"a", "b"}


@pytest.mark.parametrize(
    ("name", "verbs", "says"),
    [
        ("", ["infer"], "is no name"),
        ("a b", ["infer"], "is no name"),
        ("a", ["infr"], "Did you mean 'infer'"),
        ("a", [], "opens nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(
    metadata: Metadata, clock: ManualClock, name: str, verbs: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        tokens.create(metadata, clock, name, verbs=verbs, by="ada")
    assert metadata.count(Token) == 0


def test_a_token_that_is_none_cannot_be_revoked(metadata: Metadata, clock: ManualClock) -> None:
    tokens.create(metadata, clock, "batch", by="ada")
    with pytest.raises(UsageError, match="Did you mean 'batch'"):
        tokens.revoke(metadata, clock, "bach", reason="", by="ada")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "trimtab.yaml").write_text("project: p\n")
    (tmp_path / "definitions.py").write_text("")
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["token", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_verb_makes_lists_and_revokes(project: Path) -> None:
    where = ["--project", str(project)]
    secret = run("create", "batch", "--verb", "infer", "--verb", "read", "--expires", "90d", *where).strip()
    assert secret.startswith("tt_")
    (listed,) = msgspec.json.decode(run("list", "--json", *where))
    assert listed["state"] == "valid"
    assert listed["token"]["verbs"] == ["infer", "read"]
    assert secret not in run("list", *where)
    assert "batch" in run("revoke", "batch", "--reason", "leaked", *where)
    assert "revoked" in run("list", *where)
    made = msgspec.json.decode(run("create", "batch", "--json", *where))
    assert made["token"]["sha256"] == hashlib.sha256(made["secret"].encode()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["creat", "x"], "Did you mean 'create'"),
        (["create"], "which token"),
        (["create", "x", "--expires", "soon"], "--expires: 'soon' is not a duration"),
        (["create", "x", "--model", "delay"], "delay"),
    ],
)
def test_the_verb_says_what_is_wrong(project: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(Exception, match=says):
        CliRunner().invoke(app, ["token", *arguments, "--project", str(project)], catch_exceptions=False)
