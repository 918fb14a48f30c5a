"""The soak's changes: each fits what served before it."""

from itertools import islice, pairwise

from benchmarks.serving.changes import endless
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(2, 6), st.integers(0, 1000))
def test_every_change_has_one_champion_and_divides_the_whole_traffic(versions: int, seed: int) -> None:
    for change in islice(endless(versions, seed=seed), 50):
        roles = [role for role, _ in change.roles.values()]

        assert roles.count("champion") == 1
        assert sum(weight for _, weight in change.roles.values()) == 100
        assert all(1 <= version <= versions for version in change.roles)


@given(st.integers(0, 1000))
def test_a_promotion_makes_the_challenger_the_champion(seed: int) -> None:
    def in_role(role: str, roles: dict[int, tuple[str, float]]) -> int | None:
        return next((version for version, (other, _) in roles.items() if other == role), None)

    for before, after in pairwise(islice(endless(4, seed=seed), 60)):
        if after.action == "promote":
            assert in_role("champion", {**after.roles}) == in_role("challenger", {**before.roles})
        if after.action in ("step", "abandon"):
            assert in_role("champion", {**after.roles}) == in_role("champion", {**before.roles})


def test_a_hundred_changes_have_every_kind() -> None:
    kinds = {change.action for change in islice(endless(5), 100)}

    assert kinds == {"deploy", "challenge", "shadow", "step", "promote", "abandon", "rollback"}
