"""The routing table, and the sticky split: stable, fair, and moving as few rows as possible."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable, RoutingTable, Split, point
from trimtab.serving.requests import InferenceRequest, Refused

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
KEYS = [f"k{n}" for n in range(300)]
POINTS = [point("delay", [key]) for key in range(20_000)]
weights = st.lists(st.floats(0, 100), min_size=1, max_size=4).filter(lambda found: sum(found) > 1)


def roles(table: ModelTable, columns: dict[str, list[Any]], request_id: str = "id") -> list[str]:
    rows = len(next(iter(columns.values())))
    return [variant.role for variant in table.variants_of(InferenceRequest(rows, columns), request_id)]


def test_a_sole_champion_answers_everything(pack: Packer, table_of: TableOf) -> None:
    table = table_of(("champion", pack(1), 100), ("shadow", pack(2), 0))
    assert set(roles(table, {"row": [0] * 50})) == {"champion"}


def test_an_entity_keeps_its_role_whatever_rows_come_with_it(pack: Packer, table_of: TableOf) -> None:
    table = table_of(
        ("champion", pack(1, entity_keys=("carrier",)), 70), ("challenger", pack(2, entity_keys=("carrier",)), 30)
    )
    together = roles(table, {"carrier": KEYS, "row": [0] * 300})
    alone = [roles(table, {"carrier": [key], "row": [1]}, request_id=key)[0] for key in KEYS]
    assert together == alone
    assert 50 < together.count("challenger") < 130


def test_sticky_columns_of_the_policy_come_before_entity_keys(pack: Packer, table_of: TableOf) -> None:
    bundles = [pack(version, entity_keys=("carrier",)) for version in (1, 2)]
    table = table_of(("champion", bundles[0], 50), ("challenger", bundles[1], 50), sticky=["customer"])
    found = roles(table, {"customer": ["same"] * 300, "carrier": KEYS})
    assert len(set(found)) == 1


def test_without_sticky_values_the_request_id_decides(pack: Packer, table_of: TableOf) -> None:
    table = table_of(("champion", pack(1), 50), ("challenger", pack(2), 50))
    found = {tuple(roles(table, {"row": [0, 0]}, request_id=key)) for key in KEYS}
    assert found == {("champion", "champion"), ("challenger", "challenger")}


def test_rows_whose_sticky_values_are_missing_go_by_the_request_id(pack: Packer, table_of: TableOf) -> None:
    table = table_of(("champion", pack(1), 50), ("challenger", pack(2), 50), sticky=["customer"])
    found = {roles(table, {"customer": [None]}, request_id=key)[0] for key in KEYS}
    assert found == {"champion", "challenger"}


def test_features_go_only_to_versions_with_the_same_features(pack: Packer, table_of: TableOf) -> None:
    other = pack(2, features=["row", "more"], request_columns=("row", "more"))
    table = table_of(("champion", pack(1), 1), ("challenger", other, 99))
    request = InferenceRequest(1, {}, np.zeros((1, 1), dtype=np.float32))
    assert {table.variants_of(request, key)[0].role for key in KEYS} == {"champion"}


def test_a_version_is_found_by_its_number(pack: Packer, table_of: TableOf) -> None:
    table = table_of(("champion", pack(2), 100), ("shadow", pack(3), 0), warm=[pack(1)])
    assert table.versions == [1, 2, 3]
    assert table.variant(None) is None
    found = [table.variant(version) for version in ("1", "2", "3")]
    assert [variant.role for variant in found if variant] == ["shadow", "champion", "shadow"]
    for wrong in ("4", "x", "-1", "9" * 30, "²"):
        with pytest.raises(Refused, match="loaded: \\[1, 2, 3\\]") as refused:
            table.variant(wrong)
        assert refused.value.status == 404


def test_a_champion_without_weight_still_answers(pack: Packer, table_of: TableOf) -> None:
    table = table_of(("champion", pack(1), 0))
    assert roles(table, {"row": [0]}) == ["champion"]


def test_a_model_is_found_by_name_or_as_the_only_one(pack: Packer, table_of: TableOf) -> None:
    delay, fraud = table_of(("champion", pack(1), 100)), table_of(("champion", pack(1, model="fraud"), 100))
    one, two = RoutingTable({"delay": delay}), RoutingTable({"delay": delay, "fraud": fraud})
    assert one.model(None) is one.model("delay") is delay
    with pytest.raises(Refused, match="X-Trimtab-Model") as refused:
        two.model(None)
    assert refused.value.status == 400
    with pytest.raises(Refused, match="Did you mean 'fraud'") as refused:
        two.model("frued")
    assert refused.value.status == 404


def test_a_model_that_could_not_be_loaded_says_why(pack: Packer, table_of: TableOf) -> None:
    table = RoutingTable({}, {"delay": "revision 3: digest differs"})
    for name in ("delay", None):
        with pytest.raises(Refused, match="digest differs") as refused:
            table.model(name)
        assert refused.value.status == 503
    with pytest.raises(Refused, match="no model is deployed yet"):
        RoutingTable().model(None)


def test_a_point_is_the_same_in_every_process() -> None:
    assert point("delay", ["AA", 7]) == 0.9053503510797423
    assert point("fraud", ["AA", 7]) == 0.14897301146176456


def test_a_key_has_one_point_however_a_client_writes_it() -> None:
    assert point("m", [7]) == point("m", [7.0]) == point("m", ["7"])
    assert point("m", ["a", "b"]) != point("m", ["ab", ""])


def test_points_are_spread_evenly() -> None:
    tenths = [sum(tenth / 10 <= at < (tenth + 1) / 10 for at in POINTS) for tenth in range(10)]
    deviation = math.sqrt(len(POINTS) * 0.1 * 0.9)
    assert all(abs(found - len(POINTS) / 10) < 4 * deviation for found in tenths)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_role_gets_its_share_within_three_sigma(share: float) -> None:
    split = Split([100 - 100 * share, 100 * share])
    found = sum(split.choose(at) == 1 for at in POINTS)
    assert abs(found - share * len(POINTS)) < 3 * math.sqrt(len(POINTS) * share * (1 - share))


@given(st.floats(0, 100), st.floats(0, 100))
def test_only_the_moved_share_moves(before: float, after: float) -> None:
    first, second = Split([100 - before, before + 1e-9]), Split([100 - after, after + 1e-9])
    moved = {(first.choose(at), second.choose(at)) for at in POINTS[:2000] if first.choose(at) != second.choose(at)}
    assert moved <= ({(0, 1)} if after > before else {(1, 0)})
    share = sum(first.choose(at) != second.choose(at) for at in POINTS[:2000]) / 2000
    assert abs(share - abs(after - before) / 100) < 5 * math.sqrt(0.25 / 2000)


@given(weights, st.floats(0, 1, exclude_max=True))
def test_whoever_has_no_weight_gets_nothing(found: list[float], at: float) -> None:
    chosen = Split(found).choose(at)
    assert 0 <= chosen < len(found)
    assert found[chosen] > 0


def test_a_sole_role_is_known_without_hashing() -> None:
    assert Split([100, 0]).sole == 0
    assert Split([0, 100]).sole == 1
    assert Split([90, 10]).sole is None


@pytest.mark.parametrize("wrong", [[], [0, 0], [-1, 2]])
def test_weights_that_divide_nothing_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="do not divide traffic"):
        Split(wrong)
