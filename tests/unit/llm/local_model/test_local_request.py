"""Stop texts never reach the client, however the pieces fall."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.llm.local_model.local_request import before_stop

LETTERS = st.text("ab", max_size=2)
STOPS = st.lists(st.text("ab", min_size=2, max_size=4), max_size=2)


@given(pieces=st.lists(LETTERS), stops=STOPS)
def test_text_ends_before_the_first_stop_text(pieces: list[str], stops: list[str]) -> None:
    """What is held back at the end of a piece comes later, or is the beginning of a stop text."""
    text = "".join(pieces)
    found = [text.find(stop) for stop in stops if stop in text]
    assert "".join(before_stop(pieces, stops)) == text[: min(found, default=len(text))]


def test_text_is_not_held_back_longer_than_needed() -> None:
    """Only what may be the beginning of a stop text waits for the next piece."""
    assert list(before_stop(["one EN", "D", " two", "never"], ["END"])) == ["one "]
    assert list(before_stop(["one EN", "ough", " two"], ["END"])) == ["one ", "ENough", " two"]
