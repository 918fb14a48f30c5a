"""Roles: each may do what those below it may, on the models that it was given for."""

import pytest

from trimtab.app.operations.actors import ROLES, Actor, role_named
from trimtab.errors import Forbidden, UsageError


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_the_roles_below_it_may(role: str) -> None:
    actor = Actor(name="ann", role=role_named(role))
    assert [actor.may(each, "delay") for each in ROLES] == [ROLES.index(each) <= ROLES.index(role) for each in ROLES]


def test_a_role_on_one_model_reaches_neither_another_nor_the_project() -> None:
    actor = Actor(name="ann", role="approver", models=("delay",))
    actor.require("approver", "delay")
    with pytest.raises(Forbidden, match="needs the role viewer on fraud"):
        actor.require("viewer", "fraud")
    with pytest.raises(Forbidden, match=r"needs the role viewer on all models$"):
        actor.require("viewer")


def test_an_unknown_role_is_named_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="Did you mean 'approver'"):
        role_named("aprover")
