"""What workers are told while bundles are tried, refused, suspected and cleared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.records.record import Role
from trimtab.serving.orders import BundleOrder, ModelOrder, VariantOrder
from trimtab.serving.processes.releases import (
    FIRST_PAUSE_S,
    FORGET_S,
    LONGEST_PAUSE_AFTER_DEATH_S,
    LONGEST_PAUSE_S,
    Releases,
)


def bundle(version: int, model: str = "delay") -> BundleOrder:
    return BundleOrder(f"{model}/{version}", model, version, f"/bundles/{version}", f"digest {version}")


def order(
    number: int, champion: int, *, shadow: int = 0, warm: int = 0, before: int = 0, model: str = "delay"
) -> ModelOrder:
    """A revision by its versions; 0: there is none."""
    places: list[tuple[Role, int]] = [("champion", champion), ("shadow", shadow)]
    return ModelOrder(
        model,
        number,
        tuple(VariantOrder(role, 100.0, bundle(version, model)) for role, version in places if version),
        warm=bundle(warm, model) if warm else None,
        before=(VariantOrder("champion", 100.0, bundle(before, model)),) if before else (),
        before_revision=number - 1,
    )


def due(releases: Releases, now: float = 0.0) -> list[int]:
    return [found.version for found in releases.due(now)]


def started(*orders: ModelOrder) -> Releases:
    """What a gateway knows that was started with these orders, and serves."""
    releases = Releases()
    releases.want(orders)
    assert releases.orders(serving=False) == orders
    return releases


def test_a_start_waits_for_no_trial() -> None:
    releases = started(order(2, 2, shadow=3, warm=1, before=1))
    assert due(releases) == []


def test_what_serves_goes_on_until_the_new_bundle_was_tried() -> None:
    releases = started(order(1, 1))
    change = order(2, 2, warm=1, before=1)
    releases.want((change,))
    assert releases.orders(serving=True) == (order(1, 1),)
    assert due(releases) == [2]
    # when it was tried well
    releases.clear(bundle(2))
    # then it serves, and is tried no more
    assert releases.orders(serving=True) == (change,)
    assert due(releases) == []
    # and neither is what served before
    releases.want((order(3, 1, warm=2),))
    assert releases.orders(serving=True) == (order(3, 1, warm=2),)


def test_a_new_model_is_tried_before_it_is_told_of_when_others_serve() -> None:
    releases = started(order(1, 1))
    other = order(1, 1, model="late")
    releases.want((order(1, 1), other))
    assert releases.orders(serving=True) == (order(1, 1),)
    assert due(releases) == [1]
    releases.clear(bundle(1, "late"))
    assert releases.orders(serving=True) == (order(1, 1), other)


def test_a_refused_bundle_is_told_with_its_reason() -> None:
    releases = started(order(1, 1))
    releases.want((order(2, 2, before=1),))
    releases.refuse(bundle(2), "it died", died=True, now=0.0)
    (told,) = releases.orders(serving=True)
    assert (told.revision, told.variants[0].bundle.error) == (2, "it died")
    assert told.before == order(2, 2, before=1).before


def test_what_is_kept_warm_gets_a_preflight_that_nothing_waits_for() -> None:
    releases = started(order(3, 3))
    releases.want((order(4, 3, warm=1),))
    assert releases.orders(serving=True) == (order(4, 3),)
    assert due(releases) == [1]
    releases.refuse(bundle(1), "it died", died=True, now=0.0)
    assert releases.orders(serving=True) == (order(4, 3),)
    releases.clear(bundle(1))
    assert releases.orders(serving=True) == (order(4, 3, warm=1),)


def test_what_served_before_is_tried_when_it_is_needed_only() -> None:
    releases = started(order(3, 3))
    releases.want((order(4, 4, before=1),))
    assert due(releases) == [4]
    releases.refuse(bundle(4), "it died", died=True, now=0.0)
    assert due(releases) == [1]
    assert releases.orders(serving=True)[0].before == ()
    releases.clear(bundle(1))
    assert releases.orders(serving=True)[0].before == order(4, 4, before=1).before


def test_a_suspect_is_told_as_refused_and_tried_at_once() -> None:
    releases = started(order(2, 2, before=1))
    releases.suspect(bundle(2).key, "a worker died", now=10.0)
    (told,) = releases.orders(serving=False)
    assert told.variants[0].bundle.error == "a worker died"
    assert due(releases, 10.0) == [2]
    # when it does no harm, then it is told of again
    releases.clear(bundle(2))
    assert releases.orders(serving=False) == (order(2, 2, before=1),)
    # and when another worker dies with it, then with patience
    releases.suspect(bundle(2).key, "a worker died", now=20.0)
    assert due(releases, 20.0) == []
    assert due(releases, 20.0 + FIRST_PAUSE_S) == [2]


def test_a_suspect_that_is_not_cleared_is_no_reason_to_try_others() -> None:
    releases = started(order(2, 2, shadow=3))
    releases.suspect(bundle(3).key, "a worker died", now=0.0)
    (told,) = releases.orders(serving=False)
    assert [variant.bundle.error for variant in told.variants] == ["", "a worker died"]
    assert due(releases) == [3]


@given(deaths=st.lists(st.booleans(), min_size=1, max_size=30))
def test_pauses_grow_to_a_bound(deaths: list[bool]) -> None:
    releases = started(order(1, 1))
    releases.want((order(2, 2),))
    now = before = 0.0
    for died in deaths:
        assert due(releases, now) == [2]
        releases.refuse(bundle(2), "it failed", died=died, now=now)
        longest = LONGEST_PAUSE_AFTER_DEATH_S if died else LONGEST_PAUSE_S
        pause = min(longest, max(FIRST_PAUSE_S, 2 * before))
        assert due(releases, now + pause - 0.001) == []
        before = max(FIRST_PAUSE_S, 2 * before)
        now += pause


def test_what_a_worker_outlived_is_tried_at_once_again() -> None:
    releases = started(order(1, 1))
    for now in (0.0, 1.0, 2.0):
        releases.suspect(bundle(1).key, "a worker died", now=now)
        assert due(releases, now) == [1]
        releases.clear(bundle(1))
        releases.outlived(bundle(1).key)
    # but not while it is suspected
    releases.suspect(bundle(1).key, "a worker died", now=3.0)
    releases.outlived(bundle(1).key)
    assert releases.orders(serving=True)[0].variants[0].bundle.error == "a worker died"


def test_an_old_failure_is_forgotten() -> None:
    releases = started(order(1, 1))
    for now in (0.0, 1.0, 2.0 + FORGET_S):
        releases.suspect(bundle(1).key, "a worker died", now=now)
        assert (due(releases, now) == [1]) == (now != 1.0)
        releases.clear(bundle(1))


def test_workers_that_die_together_are_one_death() -> None:
    releases = started(order(2, 2, before=1))
    for worker in ("0", "1", "2"):
        releases.suspect(bundle(2).key, f"worker {worker} died", now=0.0)
    assert due(releases, 0.0) == [2]
    assert releases.orders(serving=False)[0].variants[0].bundle.error == "worker 0 died"


def test_what_is_wanted_no_more_is_not_tried() -> None:
    releases = started(order(1, 1))
    releases.want((order(2, 2),))
    assert due(releases) == [2]
    releases.want((order(3, 1),))
    assert due(releases) == []
    assert releases.orders(serving=True) == (order(3, 1),)
