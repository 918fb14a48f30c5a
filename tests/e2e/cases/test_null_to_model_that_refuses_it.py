"""A model whose estimator refuses missing values and infinity refuses them when it serves, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cases.one_project import OneGateway, numbers, opened, write_project

FITTED = {
    "GradientBoosting": "from sklearn.ensemble import GradientBoostingClassifier as C\n"
    "return C(n_estimators=30, random_state=seed).fit(data.X, data.y)",
    "AdaBoost": "from sklearn.ensemble import AdaBoostClassifier as C\n"
    "return C(n_estimators=10, random_state=seed).fit(data.X, data.y)",
    "KNeighbors": "from sklearn.neighbors import KNeighborsClassifier as C\nreturn C().fit(data.X, data.y)",
}


@pytest.mark.parametrize("name", FITTED)
def test_a_missing_value_and_infinity_are_refused_by_name(tmp_path: Path, name: str) -> None:
    folder, spec, _ = opened(write_project(tmp_path / "project", numbers(), FITTED[name]))
    assert spec.limits is not None
    assert spec.limits.no_null == ("a", "b", "c")
    gateway = OneGateway(folder, spec, tmp_path / "log")
    try:
        assert isinstance(gateway.ask({"a": 0.9, "b": 5.2, "c": 0.1}), list)
        told = gateway.ask({"a": 0.9, "b": 5.2, "c": 0.1}, {"a": 0.9, "b": None, "c": 0.1})
        assert told == "column 'b', row 1 has no value, and model 'm' version 1 takes no missing value there"
        huge = gateway.ask({"a": 1e39, "b": 5.2, "c": 0.1})
        assert isinstance(huge, str)
        assert "1e39 is out of range" in huge
    finally:
        gateway.close()
