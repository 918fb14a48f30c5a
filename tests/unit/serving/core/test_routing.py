"""The routing table: who answers which row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable, RoutingTable
from trimtab.serving.requests import InferenceRequest, Refused

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
KEYS = [f"k{n}" for n in range(300)]


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
