"""Tokens with roles: an admin makes and revokes them; without a role the verbs say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.gateway.tokens import statuses
from trimtab.app.operations.actors import Actor, actor_of
from trimtab.app.operations.token_orders import create_token, revoke_token
from trimtab.app.project.workspace import Workspace
from trimtab.errors import DefinitionError, Forbidden, UsageError

ROOT = Actor(name="root", role="admin")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return GatewayProject(tmp_path / "project").workspace


def test_the_holder_of_a_token_has_its_role_on_its_models_until_it_is_revoked(workspace: Workspace) -> None:
    made, _ = create_token(workspace, ROOT, "ann", models=["delay"], role="approver", reason="on duty")
    assert (made.by, made.reason) == ("root", "on duty")
    assert actor_of(made) == Actor(name="ann", role="approver", models=("delay",))
    revoke_token(workspace, ROOT, "ann", reason="left the team")
    assert [each.state for each in statuses(workspace.metadata, workspace.clock)] == ["revoked"]


@pytest.mark.parametrize(
    ("verbs", "role"), [(["infer", "admin"], "admin"), (["infer", "read"], "viewer"), (["infer", "feedback"], None)]
)
def test_without_a_role_the_verbs_say_it(workspace: Workspace, verbs: list[str], role: str | None) -> None:
    made, _ = create_token(workspace, ROOT, "batch", verbs=verbs)
    actor = actor_of(made)
    assert (None if actor is None else actor.role) == role


def test_only_an_admin_of_the_project_makes_and_revokes_tokens(workspace: Workspace) -> None:
    for actor in (Actor(name="ann", role="approver"), Actor(name="m", role="admin", models=("delay",))):
        with pytest.raises(Forbidden, match="needs the role admin"):
            create_token(workspace, actor, "mine")
        with pytest.raises(Forbidden, match="needs the role admin"):
            revoke_token(workspace, actor, "mine", reason="gone")


def test_a_role_or_model_that_is_none_is_refused(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="Did you mean 'approver'"):
        create_token(workspace, ROOT, "ann", role="aprover")
    with pytest.raises(DefinitionError, match="no model"):
        create_token(workspace, ROOT, "ann", models=["dela"])
