"""promote --from, promotions and history, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import msgspec
import pytest

from kit.commands import typed
from kit.environments import Pair
from trimtab.app.gateway import tokens
from trimtab.app.rollout import aliases as aliases_program
from trimtab.records.serving import Revision

Typed = Callable[..., "CompletedProcess[str]"]
WHY = ("--reason", "two quiet weeks")


@pytest.fixture(autouse=True)
def people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases_program, "set_aliases", lambda workspace, revision: None)
    for name in ("TRIMTAB_USER", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TRIMTAB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "dev")


def opened(folder: Path, **rules: object) -> tuple[Pair, Typed]:
    pair = Pair(folder / "project", environments={"staging": {}, "production": {"from": "staging", **rules}})

    def call(verb: str, *arguments: str) -> CompletedProcess[str]:
        return typed(verb, *arguments, "--project", str(pair.folder), check=False)

    return pair, call


def test_a_promotion_with_its_history_and_its_way_back(tmp_path: Path) -> None:
    pair, call = opened(tmp_path)
    digests = [pair.serve(1).digest]
    first = call("promote", "--to", "production", *WHY)
    assert (first.returncode, first.stdout.splitlines()[0]) == (0, "revision 1 of delay in production: deploy")
    digests.append(pair.serve(2, (0.2, 0.9)).digest)
    call("promote", "--from", "staging", "--env", "production", *WHY)
    assert call("promote", "--to", "production", *WHY).stdout.startswith(
        "revision 2 of delay in production: nothing has"
    )
    assert call("rollback", "--env", "production").returncode == 0

    found = call("history", "--env", "production", "--json")
    revisions = msgspec.json.decode(found.stdout, type=list[Revision])
    assert [r.action for r in revisions] == ["rollback", "deploy", "deploy"]
    text = call("history", "--env", "production").stdout
    for number, digest in enumerate(digests, 1):
        assert f"from staging: delay/{number}, sha256 {digest[:12]}" in text
    at = json.loads(
        call("history", "--env", "production", "--at", revisions[1].created_at.isoformat(), "--json").stdout
    )
    assert at["revision"]["number"] == 2
    assert [(a["role"], a["digest"], a["weight"]) for a in at["serves"]] == [("champion", digests[1], 100.0)]
    before = call("history", "--env", "production", "--at", "2020-01-01")
    assert "nothing served for model 'delay' in production at 2020-01-01 00:00:00 UTC" in before.stdout


def test_people_approve_by_tokens_where_the_console_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, call = opened(tmp_path, approvals=1, console={"authentication": "tokens"})
    pair.serve(1)
    asked = call("promote", "--to", "production", *WHY)
    assert asked.returncode == 1
    assert "has 0 of 1 approvals. Who may approve: all who have the role approver, except dev" in asked.stderr

    approve = ("promotions", "approve", "delay/promotion/1", "--env", "production", *WHY)
    monkeypatch.setenv("LOGNAME", "bob")
    assert "set TRIMTAB_TOKEN to yours" in call(*approve).stderr
    monkeypatch.setenv("TRIMTAB_TOKEN", "tt_nothing")
    assert "the token of TRIMTAB_TOKEN is not valid in environment production" in call(*approve).stderr
    store = pair.production
    _, secret = tokens.create(store.metadata, store.clock, "bob", role="approver", by="tests")
    monkeypatch.setenv("TRIMTAB_TOKEN", secret)
    done = call(*approve)
    assert done.stdout.startswith("delay/promotion/1: 1 of 1 approvals (bob). Now run: trimtab promote --from staging")
    monkeypatch.delenv("TRIMTAB_TOKEN")
    listed = call("promotions", "list", "--env", "production").stdout
    assert "approved  delay/1 of staging" in listed
    assert "approve by bob: two quiet weeks" in listed

    assert call("promote", "--to", "production", *WHY).returncode == 0
    assert "approved by bob" in call("history", "--env", "production").stdout


def test_on_a_build_server_the_person_who_started_the_job_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, call = opened(tmp_path, approvals=1)
    pair.serve(1)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_ACTOR", "octo")

    assert "except octo, who asked" in call("promote", "--to", "production").stderr
    refused = call("promotions", "approve", "delay/promotion/1", "--env", "production", *WHY)
    assert (refused.returncode, "'octo' has asked for" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--version", "1"), "--version says what to promote from another environment; add --from NAME"),
        (("--to", "staging"), "--to names where a bundle is to serve; add --from NAME"),
        (("--from", "stagin"), "no environment 'stagin'. Did you mean 'staging'"),
        (("--from", "local", "--to", "production"), "nothing serves for model 'delay' in local"),
        (("--from", "staging", "--to", "staging"), "staging cannot be promoted onto itself"),
        (("--to", "production", "--version", "7"), "environment staging: no bundle 'delay/7'"),
        (("--env", "production"), "yet; run: trimtab promote --from staging --to production"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, arguments: tuple[str, ...], error: str) -> None:
    pair, call = opened(tmp_path)
    pair.serve(1)
    done = call("promote", *arguments)

    assert done.returncode in (1, 2)
    assert error in done.stderr


def test_an_environment_that_takes_promoted_bundles_names_the_promotion_first(tmp_path: Path) -> None:
    pair, call = opened(tmp_path, approvals=1)
    first = "trimtab promote --from staging --to production"

    assert call("history", "--env", "production").stdout == f"nothing has been deployed yet; run: {first}\n"
    assert f"nothing is deployed yet; run: {first}" in call("status", "--env", "production").stdout
    assert f"nothing yet; run: {first}" in call("summary", "--env", "production").stdout
    refused = call("run", "--env", "production")
    assert (refused.returncode, refused.stdout) == (1, ""), "no stage has run"
    assert f"where only bundles serve that people have approved (environments.production.approvals): {first}" in (
        refused.stderr
    )
    assert pair.production.metadata.positions()["table_version"] == 0
    assert "run: trimtab run --env staging\n" in call("history", "--env", "staging").stdout
