"""The soak's bookkeeping: it must see what is lost, doubled, told differently, or answered by another role."""

from collections.abc import Sequence

import pyarrow as pa
from benchmarks.serving.audit import compare_books, shares, stickiness
from benchmarks.serving.clients import Acknowledged

Row = tuple[str, str, int, int, bool]


def acknowledged(
    id_: str, entity: int = 0, role: str = "champion", version: int = 1, revision: int = 1
) -> Acknowledged:
    return Acknowledged(id_, entity, role, version, revision)


def log(rows: Sequence[Row], *, entity: str | None = "customer-0") -> pa.Table:
    """Return a log of rows: id, role, version, revision, served."""
    ids, roles, versions, revisions, served = map(list, zip(*rows, strict=True))
    entities = pa.array([[("customer", entity)] if entity else None] * len(rows), pa.map_(pa.string(), pa.string()))
    return pa.table(
        {
            "prediction_id": ids,
            "role": roles,
            "version": versions,
            "revision": revisions,
            "served": served,
            "entities": entities,
        }
    )


def test_books_that_agree_are_right() -> None:
    rows = log([("a", "champion", 1, 1, True), ("a", "challenger", 2, 1, False), ("b", "challenger", 2, 1, True)])

    books = compare_books([acknowledged("a"), acknowledged("b", 1, "challenger", 2)], rows)

    assert books.right
    assert (books.acknowledged, books.served_rows, books.other_rows, books.unheard) == (2, 2, 1, 0)


def test_an_acknowledged_prediction_that_is_not_in_the_log_is_lost() -> None:
    books = compare_books([acknowledged("a"), acknowledged("b")], log([("a", "champion", 1, 1, True)]))

    assert (books.lost, books.right, books.example) == (1, False, "b is lost")


def test_a_prediction_that_was_only_scored_for_comparison_is_lost() -> None:
    assert compare_books([acknowledged("a")], log([("a", "champion", 1, 1, False)])).lost == 1


def test_a_prediction_served_twice_is_doubled() -> None:
    rows = log([("a", "champion", 1, 1, True), ("a", "champion", 1, 1, True)])

    assert compare_books([acknowledged("a")], rows).doubled == 1


def test_one_id_for_two_answers_is_doubled() -> None:
    rows = log([("a", "champion", 1, 1, True)])

    assert compare_books([acknowledged("a"), acknowledged("a", 1)], rows).doubled == 1


def test_a_row_that_says_otherwise_than_the_answer_is_different() -> None:
    books = compare_books([acknowledged("a", revision=2)], log([("a", "champion", 1, 1, True)]))

    assert (books.different, books.right) == (1, False)


def test_a_row_whose_answer_never_arrived_is_unheard_but_right() -> None:
    books = compare_books([], log([("a", "champion", 1, 1, True)]))

    assert (books.unheard, books.right) == (1, True)


def test_rows_without_an_entity_are_those_of_the_question_whether_it_is_up() -> None:
    assert compare_books([], log([("a", "champion", 1, 1, True)], entity=None)).served_rows == 0


def test_shares_count_each_entity_once() -> None:
    given = [acknowledged(f"{n}", n % 100, "challenger" if n % 100 < 10 else "champion") for n in range(1_000)]

    found = {share.role: share for share in shares(given, {1: {"champion": 0.9, "challenger": 0.1}})}

    assert (found["challenger"].share, found["challenger"].entities) == (0.1, 100)
    assert found["challenger"].sigmas == 0


def test_a_role_without_a_weight_that_answers_is_infinitely_far() -> None:
    found = shares([acknowledged("a", 0, "challenger"), acknowledged("b", 1)], {1: {"champion": 1.0}})

    assert max(share.sigmas for share in found) == float("inf")


def test_an_entity_that_changes_its_role_within_a_revision_strays() -> None:
    given = [acknowledged("a"), acknowledged("b", role="challenger"), acknowledged("c")]

    found = stickiness(given, {1: {"champion": 0.5, "challenger": 0.5}})

    assert (found.repeated, found.strayed) == (2, 1)


def test_only_the_moved_share_may_move() -> None:
    weights = {1: {"champion": 0.9, "challenger": 0.1}, 2: {"champion": 0.5, "challenger": 0.5}}
    towards = [acknowledged("a", 0), acknowledged("b", 0, "challenger", revision=2)]
    against = [acknowledged("c", 1, "challenger"), acknowledged("d", 1, revision=2)]

    assert stickiness(towards, weights).moved_wrongly == 0
    assert stickiness(against, weights).moved_wrongly == 1
