"""YAML of targets: read back as it was, texts as blocks."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab.targets.yaml_text import yaml_file, yaml_text

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=12)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@given(st.lists(VALUES, min_size=1, max_size=3))
def test_values_are_read_back_as_they_were(documents: list[Any]) -> None:
    assert list(yaml.safe_load_all(yaml_text(*documents))) == documents


def test_a_file_says_who_wrote_it_and_keeps_the_order_of_keys() -> None:
    text = yaml_file("docker", {"b": ["x"], "a": "two\nlines\n", "no": "no"}, notes=["a note"])
    first = "# Written by trimtab export docker from trimtab.yaml; change that, and write it again.\n# a note\n"
    assert text == first + "b:\n  - x\na: |\n  two\n  lines\n'no': 'no'\n"
