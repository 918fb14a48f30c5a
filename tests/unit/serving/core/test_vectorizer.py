"""Number columns of bundles without views: what is a number, and which row holds something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import DataError
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.testing.bundles import plain_spec


@pytest.mark.parametrize(("kind", "taken"), [("number", False), ("integer", False), ("boolean", True), (None, True)])
def test_a_truth_is_no_number_where_a_number_is_asked_for(tmp_path: Path, kind: str | None, taken: bool) -> None:
    types = {} if kind is None else {"a": kind}
    vectors = NumericColumns(tmp_path, plain_spec("delay", ["a"], request_types=types)).vectors
    assert vectors({"a": [1, 0.5]}, [0, 0]).tolist() == [[1.0], [0.5]]
    if taken:
        assert vectors({"a": [1, True]}, [0, 0]).tolist() == [[1.0], [1.0]]
        return
    with pytest.raises(DataError, match="column 'a', row 1: true is not a number"):
        vectors({"a": [1, True]}, [0, 0])


@pytest.mark.parametrize(("value", "shown"), [("far", "'far'"), ([1], r"\[1\]"), ({"b": None}, '{"b":null}')])
def test_what_is_no_number_is_shown_with_its_row(tmp_path: Path, value: Any, shown: str) -> None:
    vectors = NumericColumns(tmp_path, plain_spec("delay", ["a"])).vectors
    with pytest.raises(DataError, match=f"column 'a', row 2: {shown} is not a number"):
        vectors({"a": [1, None, value]}, [0, 0, 0])
