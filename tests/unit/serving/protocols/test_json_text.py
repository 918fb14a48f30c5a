"""JSON as Python writes it."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.protocols.json_text import repaired

values = st.recursive(
    st.none()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["NaN", '"NaN', "\\"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def without_constants(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else math.copysign(1.7976931348623157e308, value)
    if isinstance(value, list):
        return [without_constants(each) for each in value]
    if isinstance(value, dict):
        return {name: without_constants(each) for name, each in value.items()}
    return value


@given(values)
def test_what_python_writes_is_read(value: Any) -> None:
    body = json.dumps(value).encode()
    again = repaired(body)
    assert again is not None or (b"NaN" not in body and b"Infinity" not in body)
    assert msgspec.json.decode(body if again is None else again) == without_constants(value)
