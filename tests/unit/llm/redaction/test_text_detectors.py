"""What the detectors find in texts that people marked, what they leave alone, and that no text makes them slow."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.labelled_texts import KINDS, labelled
from trimtab.llm.redaction.secret_shapes import is_random
from trimtab.llm.redaction.text_detectors import DETECTORS, find, passes_luhn

RECALL = {"email": (11, 13), "phone": (21, 23), "card": (12, 14), "iban": (10, 11), "ip": (9, 10), "secret": (30, 32)}
"""Found, and marked, by kind. docs/prompts.md names them."""


def test_the_recall_on_the_marked_texts_is_what_the_docs_say(capsys: pytest.CaptureFixture[str]) -> None:
    found, marked = Counter[str](), Counter[str]()
    for text, values in labelled():
        pieces = [text[span.start : span.end] for span in find(text, KINDS)]
        for kind, value in values:
            marked[kind] += 1
            found[kind] += any(value in piece for piece in pieces)
    with capsys.disabled():
        print("\nredaction: found / marked:", ", ".join(f"{kind} {found[kind]}/{marked[kind]}" for kind in KINDS))
    assert {kind: (found[kind], marked[kind]) for kind in KINDS} == RECALL


def test_nothing_else_is_found_in_them() -> None:
    for text, values in labelled():
        for start, end, kind in find(text, KINDS):
            piece = text[start:end]
            assert any(piece in value or value in piece for _, value in values), (kind, piece, text)


def test_only_the_kinds_that_are_asked_for_are_found() -> None:
    text = "anna@example.org, +49 30 1234567"
    assert [found.kind for found in find(text, ["phone"])] == ["phone"]
    assert find(text, []) == []
    assert [found.kind for found in find("ticket T-17", [], [re.compile(r"T-\d+")])] == ["custom"]


def test_what_overlaps_is_one_place_of_the_more_telling_kind() -> None:
    text = "postgres://app:pw12@db.example.org/x"
    (found,) = find(text, KINDS)
    assert (found.kind, text[found.start : found.end]) == ("secret", "pw12@db.example.org")


@pytest.mark.parametrize(
    "text", ["4111\u200b1111\u20111111\u00a01111", "٤١١١ ١١١١ ١١١١ ١١١١", "４１１１１１１１１１１１１１１１"]
)
def test_other_digits_and_invisible_separators_hide_nothing(text: str) -> None:
    assert [found.kind for found in find(f"card {text}!", KINDS)] == ["card"]


@given(st.lists(st.integers(0, 9), min_size=2, max_size=19), st.data())
def test_luhn_s_digit_finds_every_single_wrong_digit(digits: list[int], data: st.DataObject) -> None:
    right = next(check for check in "0123456789" if passes_luhn("".join(map(str, digits)) + check))
    number = [*map(str, digits), right]
    place = data.draw(st.integers(0, len(number) - 1))
    number[place] = str((int(number[place]) + data.draw(st.integers(1, 9))) % 10)
    assert not passes_luhn("".join(number))


@given(st.text())
def test_places_are_ordered_and_apart_in_any_text(text: str) -> None:
    ends = [0]
    for start, end, kind in find(text, KINDS, [re.compile("a+")]):
        assert ends[-1] <= start < end <= len(text)
        assert kind in (*DETECTORS, "custom")
        ends.append(end)


@pytest.mark.parametrize(
    "piece",
    ["@a", "a@", "a.", "a-", "1 ", "1.", ":", "f:", "key=", "pass ", "sk-", "-----BEGIN ", "://a:", "DE00", "(1"],
)
def test_the_work_grows_no_faster_than_the_text(piece: str) -> None:
    class Counted(str):
        """A text; the test only needs it to end."""

    find(Counted(piece * 20_000), KINDS)  # quadratic work would take minutes


@pytest.mark.parametrize(
    ("text", "random"),
    [
        ("Xq7Rt2Lp9Vz4Bn8Kc5Wm3Jd6", True),
        ("9f86d081884c7d659a2feaa0c55ad015", True),
        ("123e4567-e89b-12d3-a456-426614174000", False),
        ("00000000000000000000000000000000", False),
        ("getUserByIdentifierFromTheAccountService2", False),
        ("reportsOfTheYear2026AndTheYearBefore2025", False),
    ],
)
def test_random_text_is_told_from_names(text: str, random: bool) -> None:
    assert is_random(text) is random
