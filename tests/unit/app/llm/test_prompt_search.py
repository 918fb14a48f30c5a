"""The parts of a search that need no model: the use of items, the examples it draws, and the levels of its test."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.prompt_project import write_prompt_project
from trimtab.app.llm.prompt_search import AS_BEFORE, MOST_EXAMPLES, PromptSearch
from trimtab.app.llm.prompt_tuning import better, split
from trimtab.app.llm.prompt_versions import current_spec
from trimtab.app.project.workspace import open_workspace
from trimtab.definitions.llm.evaluators import Item
from trimtab.errors import DataError
from trimtab.gates.prompts.prompt_inputs import result
from trimtab.llm.evaluate.items import ItemSet
from trimtab.llm.evaluate.runner import Part


def part(clusters: list[int]) -> Part:
    items = tuple(Item(id=f"{n:03}", inputs={"ticket": "t"}, cluster=str(each)) for n, each in enumerate(clusters))
    digest = hashlib.sha256(b"").hexdigest()
    items_of = ItemSet(name="set", items=items, places=("f:1",) * len(items), repeated=0, hash=digest)
    return Part(items=items_of, version="set/1", evaluators=())


@given(clusters=st.lists(st.integers(0, 40), min_size=1, max_size=80), more=st.lists(st.integers(0, 60), max_size=20))
def test_a_cluster_has_one_use_and_further_items_change_none(clusters: list[int], more: list[int]) -> None:
    found, later = (split([part(each)], validation=0.3, held_out=0.3) for each in (clusters, clusters + more))
    uses = [{item.cluster for item in use} for use in found]
    assert sum(map(len, uses)) == len(set(clusters))
    assert sum(map(len, found)) == len(clusters)
    for use, after in zip(found, later, strict=True):
        assert {item.id for item in use} <= {item.id for item in after}


def searching(tmp_path: Path) -> PromptSearch:
    spec = current_spec(open_workspace(write_prompt_project(tmp_path / "desk")))
    train = [Item(id=f"{n}", inputs={"ticket": f"ticket {n}"}, expected="billing") for n in range(9)]

    async def never(*_: Any) -> Any:
        raise AssertionError("nothing is asked")

    return PromptSearch(
        spec=spec,
        parts=[],
        quality="exact",
        train=[*train, Item(id="unknown", inputs={"ticket": "x"})],
        validation=[],
        evaluate=never,
        reflect=never,
        affords=lambda: True,
    )


def test_examples_are_training_items_that_failed_and_have_an_answer(tmp_path: Path) -> None:
    search, ids = searching(tmp_path), AS_BEFORE
    assert search.other_examples(AS_BEFORE, ["unknown", "of validation"]) == AS_BEFORE
    for _ in range(12):
        ids = search.other_examples(ids, [str(n) for n in range(9)])
        drawn = msgspec.json.decode(ids)
        assert 1 <= len(set(drawn)) == len(drawn) <= MOST_EXAMPLES
    spec = search.changed({"examples": ids})
    assert [each["expected"] for each in spec.examples] == ["billing"] * MOST_EXAMPLES
    assert search.changed({"examples": AS_BEFORE}).examples == search.spec.examples


@pytest.mark.parametrize(
    "text", ["sort {{ ticket }}", "sort {{ other }}", "<!-- section: more -->\nx", "# user\nx", ""]
)
def test_a_proposal_that_is_no_part_of_the_prompt_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        searching(tmp_path).changed({"instructions": text})


def test_the_levels_of_all_searches_on_the_same_items_add_up_to_the_whole() -> None:
    levels = [0.05 / (k * (k + 1)) for k in range(1, 2000)]
    assert sum(levels) == pytest.approx(0.05, rel=1e-3)
    quality = result("quality", "exact", "pass", "", details={"p": 0.02})
    assert better([quality], "exact", level=levels[0], number=1).verdict == "pass"
    assert better([quality], "exact", level=levels[1], number=2).verdict == "fail"


def test_a_judge_that_only_informs_accepts_nothing() -> None:
    informs = result("quality", "right", "warn", "", details={"p": 1e-9})
    found = better([informs], "right", level=0.025, number=1)
    assert found.verdict == "fail"
    assert "it decides nothing" in found.reason
