"""MLflow models whose signature has texts and times: described with types, and scored in their process as in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from trimtab.app.gateway.worker_program import alone
from trimtab.bundle.typed_matrix import zero_rows
from trimtab.bundle.typed_packing import feature_schema
from trimtab.errors import DataError
from trimtab.runtimes.opening import open_scorer
from trimtab.runtimes.servable import describe


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, pd.DataFrame]:
    frame = pd.DataFrame(
        {
            "carrier": ["UA", "AA", "Ü", "UA"] * 10,
            "seats": np.arange(40, dtype="int64"),
            "wind": np.linspace(0, 1, 40),
            "at": pd.date_range("2026-01-01", periods=40),
        }
    )
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]), ("passthrough", ["seats", "wind"])
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, np.arange(40) % 2)
    folder = tmp_path_factory.mktemp("models") / "late"
    signature = infer_signature(frame, model.predict_proba(frame)[:, 1])
    mlflow.sklearn.save_model(model, str(folder), signature=signature, serialization_format="cloudpickle")
    return folder, model, frame


def test_a_model_with_text_columns_scores_as_in_mlflow(saved: tuple[Path, Any, pd.DataFrame]) -> None:
    folder, model, frame = saved
    spec = describe(folder, trust=("pyfunc",))
    assert dict(spec.feature_types) == {"carrier": "text", "seats": "integer", "at": "timestamp"}
    assert spec.request_types["carrier"] == "text"
    assert spec.task == "binary"
    some = frame[:5].assign(carrier=["UA", "AA", "ZZ", "Ü", ""])
    columns = {name: some[name].tolist() for name in ("carrier", "seats", "wind")}
    columns["at"] = [at.isoformat() for at in some["at"]]
    rows = alone(folder, spec).vectors(columns, [0] * 5)
    scorer = open_scorer(folder, spec, trust=("pyfunc",))
    try:
        np.testing.assert_allclose(scorer.score(rows), model.predict_proba(some)[:, 1], atol=1e-6)
        assert scorer.score(zero_rows(feature_schema(spec), 2, 4)).shape == (2,)
        missing = alone(folder, spec).vectors({**columns, "seats": [None] * 5}, [0] * 5)
        with pytest.raises(DataError, match="column 'seats' is missing in a row; the signature says long"):
            scorer.score(missing)
        with pytest.raises(DataError, match="the model takes typed features, and the rows are plain numbers"):
            scorer.score(np.zeros((1, 4), dtype=np.float32))
    finally:
        scorer.close()
