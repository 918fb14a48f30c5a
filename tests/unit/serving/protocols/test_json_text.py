"""JSON as Python writes it."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.protocols import json_text
from trimtab.serving.protocols.json_text import repaired
from trimtab.serving.requests import Refused

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


small = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
tricky = st.sampled_from(["},{", "],[", '","', ",", '\\",', "}", "]", '"'])
documents = st.recursive(
    small | tricky,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3) | tricky, inner, max_size=4),
    max_leaves=40,
)


@given(documents, st.integers(2, 40), st.booleans())
def test_what_is_read_in_pieces_is_what_is_read_whole(value: Any, piece: int, spaced: bool) -> None:
    body = json.dumps(value, separators=(", ", ": ") if spaced else (",", ":")).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "PIECE", piece)
        assert repr(json_text.in_pieces(body)) == repr(msgspec.json.decode(body))


@given(documents, st.integers(2, 40), st.integers(0, 200), st.sampled_from([b"", b",", b"]", b"[", b"}", b'"', b"1"]))
def test_what_is_malformed_is_so_in_pieces(value: Any, piece: int, at: int, instead: bytes) -> None:
    body = json.dumps(value, separators=(",", ":")).encode()
    body = body[:at] + instead + body[at + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "PIECE", piece)
        try:
            whole = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
                json_text.in_pieces(body)
        else:
            assert repr(json_text.in_pieces(body)) == repr(whole)


def test_a_large_request_is_read_in_pieces_and_its_mistakes_are_named() -> None:
    rows = [{"origin": "EWR", "distance": n + 0.5, "note": "},{"} for n in range(20_000)]
    body = msgspec.json.encode({"dataframe_records": rows})
    assert len(body) > 2 * json_text.PIECE
    assert json_text.read(msgspec.json.decode, body, "JSON") == {"dataframe_records": rows}
    wrong = body[:-20] + b"x" + body[-19:]
    with pytest.raises(Refused, match=r"malformed JSON: .*byte"):
        json_text.read(msgspec.json.decode, wrong, "JSON")
    lines = b"\n".join(map(msgspec.json.encode, rows))
    assert json_text.read_lines(lines) == rows
