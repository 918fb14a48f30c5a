"""Server-sent events: any cut of the bytes gives the same events; OpenAI's client reads the same data."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from trimtab.llm.upstream.event_stream import MOST_BYTES, EventReader, ServerEvent, TooLong

ENDS = st.sampled_from(["\n", "\r\n"])
TEXT = st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=12)
LINES = st.one_of(
    TEXT.map(lambda text: f"data: {text}"),
    TEXT.map(lambda text: f"data:{text}"),
    TEXT.map(lambda text: f": {text}"),
    st.sampled_from(["event: error", "id: 7", "retry: 100", "data", "datax: 1"]),
)
STREAMS = st.builds(
    lambda events, end: "".join("".join(line + end for line in lines) + end for lines in events),
    st.lists(st.lists(LINES, min_size=1, max_size=4), max_size=6),
    ENDS,
)


def read(segments: list[bytes]) -> list[ServerEvent]:
    reader = EventReader()
    found = [event for segment in segments for event in reader.feed(segment)]
    rest = reader.rest()
    return found if rest is None else [*found, rest]


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    whole = (draw(STREAMS) + draw(st.sampled_from(["", "data: half", "\n", "\r"]))).encode()
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    return whole, [whole[a:b] for a, b in pairwise([0, *cuts, len(whole)])]


@given(cut_streams())
def test_no_cut_changes_the_events_or_loses_a_byte(stream: tuple[bytes, list[bytes]]) -> None:
    whole, segments = stream
    found = read(segments)
    assert found == read([whole])
    assert b"".join(event.raw for event in found) == whole


@given(cut_streams())
def test_openai_s_decoder_reads_the_same_data(stream: tuple[bytes, list[bytes]]) -> None:
    whole, segments = stream
    body = whole.decode()
    if not body.endswith(("\n\n", "\n\r\n")):  # it reads no half event either, but counts a lone line end as one
        body = body[: max(body.rfind("\n\n") + 2, body.rfind("\n\r\n") + 3, 0)]
    oracle = [(each.event, each.data) for each in SSEDecoder().iter_bytes(iter([body.encode()]))]
    oracle = [(name, data) for name, data in oracle if data]  # an event without data is none
    reader = EventReader()
    ours = [event for segment in segments for event in reader.feed(segment)]
    assert [(event.name or None, event.data.decode()) for event in ours if event.data] == oracle


def test_an_event_in_the_middle_of_a_character_waits_for_the_rest() -> None:
    raw = "data: é😀\n\n".encode()
    reader = EventReader()
    found = [event for at in range(len(raw)) for event in reader.feed(raw[at : at + 1])]
    assert found == [ServerEvent(raw, "é😀".encode())]


def test_carriage_returns_alone_end_lines_and_a_byte_order_mark_is_no_data() -> None:
    assert [event.data for event in read([b"\xef\xbb\xbfdata: a\r\rdata: b\r\rdata: c\r\r"])] == [b"a", b"b", b"c"]


def test_an_endless_event_is_refused() -> None:
    reader = EventReader()
    assert reader.feed(b"x" * MOST_BYTES) == []
    with pytest.raises(TooLong):
        reader.feed(b"x")
