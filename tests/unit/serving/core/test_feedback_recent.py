"""What labels say of labels before them, as far as a worker remembers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.core.feedback import Label, Outcome, Recent

NOW = 1_000


def take(recent: Recent, *labels: tuple[str, float, int | None]) -> tuple[list[int], Outcome]:
    """Return which labels are logged, and the outcome."""
    made = [Label(index, name, label, known_at) for index, (name, label, known_at) in enumerate(labels)]
    fresh, outcome, seen = recent.judge(made, NOW)
    recent.keep(seen)
    return [label.index for label in fresh], outcome


def test_a_repeated_label_is_logged_once() -> None:
    recent = Recent()
    assert take(recent, ("a", 1, 5), ("a", 1, 5), ("b", 0, None)) == ([0, 2], Outcome(3, repeated=1))
    assert take(recent, ("a", 1, 5), ("a", 1, None), ("b", 0, None)) == ([], Outcome(3, repeated=3))


def test_a_repeated_label_of_another_moment_is_logged() -> None:
    recent = Recent()
    take(recent, ("a", 1, 5))
    assert take(recent, ("a", 1, 9)) == ([0], Outcome(1, repeated=1))


def test_a_contradictory_label_is_logged_and_counted() -> None:
    recent = Recent()
    take(recent, ("a", 1, 5))
    assert take(recent, ("a", 0, 7)) == ([0], Outcome(1, contradicting=1))
    assert take(recent, ("a", 0, 7)) == ([], Outcome(1, repeated=1))


def test_an_older_label_does_not_take_the_place_of_a_newer_one() -> None:
    recent = Recent()
    take(recent, ("a", 1, 5))
    assert take(recent, ("a", 0, 3)) == ([0], Outcome(1, contradicting=1))
    assert take(recent, ("a", 1, None))[1] == Outcome(1, repeated=1)


def test_what_was_not_logged_is_not_remembered() -> None:
    recent = Recent()
    recent.judge([Label(0, "a", 1, 5)], NOW)
    assert take(recent, ("a", 1, 5)) == ([0], Outcome(1))


def test_the_oldest_ids_are_forgotten() -> None:
    recent = Recent(2)
    take(recent, ("a", 1, 5), ("b", 1, 5))
    take(recent, ("a", 1, 6), ("c", 1, 5))
    assert take(recent, ("b", 0, 5))[1] == Outcome(1)
    assert take(recent, ("c", 1, 5))[1] == Outcome(1, repeated=1)


one = st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0]), st.integers(0, 4))


@given(st.lists(st.lists(one, max_size=5), max_size=6))
def test_the_newest_label_counts_whatever_is_left_out_of_the_log(requests: list[list[tuple[str, float, int]]]) -> None:
    recent, logged = Recent(), []
    for labels in requests:
        places, outcome = take(recent, *labels)
        logged += [labels[place] for place in places]
        assert outcome.accepted == len(labels)
    sent = [label for labels in requests for label in labels]
    for moment in range(5):
        assert counting(logged, moment) == counting(sent, moment)


def counting(labels: list[tuple[str, float, int]], moment: int) -> dict[str, float]:
    """Return the label of each id as of a moment: of the latest known_at, of one moment the last that came."""
    known = sorted((label for label in labels if label[2] <= moment), key=lambda label: label[2])
    return {name: label for name, label, _ in known}
