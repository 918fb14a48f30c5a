"""A forest that never saw a missing value answers it as scikit-learn does, and refuses infinity as it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from e2e.cases.one_project import OneGateway, numbers, opened, write_project
from trimtab.runtimes.skops import load_estimator

FOREST = "RandomForestClassifier(n_estimators=30, max_depth=5, random_state=seed)"
TREES = {
    "forest": f"from sklearn.ensemble import RandomForestClassifier\nreturn {FOREST}.fit(data.X, data.y)",
    "bagged": "from sklearn.ensemble import BaggingClassifier\n"
    "return BaggingClassifier(n_estimators=5, random_state=seed).fit(data.X, data.y)",
    "scaled": "from sklearn.ensemble import ExtraTreesClassifier\nfrom sklearn.pipeline import make_pipeline\n"
    "from sklearn.preprocessing import RobustScaler\n"
    "return make_pipeline(RobustScaler(), ExtraTreesClassifier(20, random_state=seed)).fit(data.X, data.y)",
}
ROWS = [(0.9, 5.2, 0.1), (None, 5.2, 0.1), (0.9, None, 0.1), (None, None, None)]


@pytest.mark.parametrize("name", TREES)
def test_what_serves_answers_missing_values_as_the_estimator(tmp_path: Path, name: str) -> None:
    # given trees that learned from whole rows
    folder, spec, _ = opened(write_project(tmp_path / "project", numbers(), TREES[name]))
    estimator = load_estimator(folder / "model.skops")
    expected = estimator.predict_proba(np.array(ROWS, dtype=np.float32))[:, 1]

    # then the gateway answers rows with gaps as scikit-learn does, and infinity not at all
    gateway = OneGateway(folder, spec, tmp_path / "log")
    try:
        found = gateway.ask(*[dict(zip("abc", row, strict=True)) for row in ROWS])
        assert found == pytest.approx(expected.tolist(), abs=1e-6)
        told = gateway.ask({"a": 0.1, "b": 5.2, "c": 0.1}, {"a": 1e39, "b": 5.2, "c": 0.1})
        assert isinstance(told, str)
        assert told.startswith("column 'a', row 1: 1e39 is out of range; model 'm' version 1 takes finite numbers only")
    finally:
        gateway.close()
