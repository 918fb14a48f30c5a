"""What a label of a request is, by the task and the names of the classes."""

from __future__ import annotations

import pytest

from trimtab.serving.core.feedback import BadLabels, Label


@pytest.mark.parametrize(
    ("classes", "sent", "label"),
    [
        (("1", "2"), 1.0, 0.0),
        (("1", "2"), 2.0, 1.0),
        (("1", "2"), "1", 0.0),
        (("1", "0"), 1.0, 0.0),
        (("1", "0"), -0.0, 1.0),
        (("1", "0"), "0", 1.0),
        (("no", "yes"), 1.0, 1.0),
        (("no", "yes"), "0", 0.0),
        (("no", "yes"), "yes", 1.0),
        ((), 1.0, 1.0),
    ],
)
def test_a_number_is_the_class_of_that_name_first(classes: tuple[str, ...], sent: float | str, label: float) -> None:
    found = Label(0, "a", sent, None)
    found.check("binary", classes)
    assert found.label == label


@pytest.mark.parametrize(
    ("classes", "sent", "expected"),
    [
        (("1", "2"), 0.0, "one of 1, 2"),
        (("1", "2"), "0", "one of 1, 2"),
        (("no", "yes"), 2.0, "0 or 1, or one of no, yes"),
        (("no", "yes"), 0.5, "0 or 1, or one of no, yes"),
        ((), "1", "0 or 1"),
        ((), 2.0, "0 or 1"),
    ],
)
def test_another_number_is_refused(classes: tuple[str, ...], sent: float | str, expected: str) -> None:
    with pytest.raises(BadLabels, match=f"expected {expected}$"):
        Label(0, "a", sent, None).check("binary", classes)
