"""Missing values sent to a linear model are refused, and the guard does not count them against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from e2e.cases.one_project import OneGateway, numbers, opened, write_project

TRAINER = "from sklearn.linear_model import LogisticRegression as C\nreturn C(C=0.1).fit(data.X, data.y)"
ROW = {"a": 0.9, "b": 5.2, "c": 0.1}


CHANGES: list[dict[str, Any]] = [
    {"a": None},
    {"a": 1e39},
    {"a": None, "b": None, "c": None},
    {"a": 3e38, "b": -3e38, "c": 3e38},
]


def test_none_of_many_such_requests_counts_as_a_failure(tmp_path: Path) -> None:
    folder, spec, _ = opened(write_project(tmp_path / "project", numbers(), TRAINER))
    gateway = OneGateway(folder, spec, tmp_path / "log")
    try:
        answers = [gateway.ask(ROW | change) for change in CHANGES for _ in range(20)]
        refused = [answer for answer in answers if isinstance(answer, str)]
        assert len(refused) >= 60, "each of the first three ways"
        assert all("row 0" in answer and "model 'm' version 1" in answer for answer in refused)
        assert isinstance(gateway.ask(ROW), list)
        assert gateway.rows() == len(answers) - len(refused) + 1, "what is refused is not logged, so nobody counts it"
    finally:
        gateway.close()
