"""Regions of written files that belong to the user."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import StageError
from trimtab.targets.kept_regions import merge, region

MADE = "a: 1\n" + region("env", indent=2) + "b: 2\n"
LINES = st.lists(
    st.from_regex(r"[a-z #:/]{0,12}", fullmatch=True).filter(lambda line: "trimtab" not in line), max_size=5
)


@given(LINES)
def test_lines_of_the_user_are_kept_and_all_others_are_made_anew(lines: list[str]) -> None:
    own = "".join(f"{line}\n" for line in lines)
    found = MADE.replace("yours env\n", "yours env\n" + own).replace("a: 1", "a: old")
    merged = merge(MADE, found, "f")
    assert merged == MADE.replace("yours env\n", "yours env\n" + own)
    assert merge(MADE, merged, "f") == merged


def test_a_region_in_groovy_is_kept() -> None:
    made = region("stages", comment="//")
    found = made.replace("stages\n", "stages\nmine\n", 1)
    assert merge(made, found, "Jenkinsfile") == found


def test_lines_in_a_region_that_is_gone_are_not_lost() -> None:
    with pytest.raises(StageError, match="region 'env' holds lines of yours"):
        merge("a: 1\n", MADE.replace("yours env\n", "yours env\n  mine: 1\n"), "f")
    assert merge("a: 1\n", MADE, "f") == "a: 1\n"


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ("# trimtab: yours a\nmine\n", "f: the region 'a' does not end"),
        ("# trimtab: end a\n", "f:1: 'trimtab: end' without"),
        ("# trimtab: yours a\n# trimtab: yours b\n", "f:2: expected '# trimtab: end a'"),
        ("# trimtab: yours a\n# trimtab: end b\n", "f:2: expected '# trimtab: end a'"),
    ],
)
def test_broken_regions_name_their_line(found: str, complaint: str) -> None:
    with pytest.raises(StageError, match=complaint):
        merge(MADE, found, "f")
