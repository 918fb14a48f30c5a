"""Messages built from a template are what pyarrow itself would write."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.stores.predictions import LABEL_FIELDS, LABELS, PREDICTION_FIELDS, PREDICTIONS, templates
from trimtab.stores.predictions.messages import MessageWriter
from trimtab.testing.predictions import label_rows, prediction_rows

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
int32 = st.integers(-(2**31), 2**31 - 1)
micros = st.integers(-(2**62), 2**62)
row = st.fixed_dictionaries(
    {
        "prediction_id": text,
        "model": text,
        "version": int32,
        "role": st.sampled_from(["champion", "challenger"]),
        "served": st.booleans(),
        "route": st.sampled_from(["split", "pinned", "fallback"]),
        "revision": int32,
        "event_time": micros,
        "logged_at": micros,
        "entities": st.none() | st.lists(st.tuples(text, st.none() | text), max_size=3),
        "features": st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=5),
        "score": st.none() | st.floats(allow_nan=False),
        "confidence": st.none() | st.floats(0, 1),
        "latency_us": int32,
        "cpu_us": int32,
        "error": st.none() | text,
    }
)


def decoded(message: bytes | bytearray, schema: pa.Schema) -> pa.RecordBatch:
    batch = pa.ipc.read_record_batch(pa.py_buffer(message), schema)
    batch.validate(full=True)
    return batch


@settings(deadline=None)  # pyarrow loads pandas on the first array
@given(st.lists(row, max_size=12))
def test_any_rows_equal_the_batch_that_pyarrow_builds(rows: list[dict[str, Any]]) -> None:
    columns = {name: [r[name] for r in rows] for name in PREDICTIONS.names}
    message, count = MessageWriter(templates.PREDICTIONS).encode(columns)
    expected = pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in PREDICTIONS], schema=PREDICTIONS)
    assert count == len(rows)
    assert decoded(message, PREDICTIONS).equals(expected)
    assert len(message) % 8 == 0


@pytest.mark.parametrize("width", [0, 1, 30])
@pytest.mark.parametrize("rows", [0, 1, 33])
def test_one_float32_matrix_stands_for_a_column_of_vectors(rows: int, width: int) -> None:
    matrix = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    message, _ = MessageWriter(templates.PREDICTIONS).encode(prediction_rows(["x"] * rows, features=matrix))  # type: ignore[arg-type]  # an array has all that is used of a Sequence
    assert decoded(message, PREDICTIONS)["features"].to_pylist() == matrix.tolist()


def test_nan_is_kept_apart_from_null() -> None:
    columns = prediction_rows(["x"] * 2, features=[[float("nan")], None], score=[float("nan"), None])
    batch = decoded(MessageWriter(templates.PREDICTIONS).encode(columns)[0], PREDICTIONS)
    assert batch["score"].null_count == 1
    assert batch["features"].null_count == 1
    assert np.isnan(batch["features"][0].as_py()[0])


def test_the_label_schema_is_written_too() -> None:
    columns = label_rows(["a", "b"], label=[0.0, 2.5])
    batch = decoded(MessageWriter(templates.LABELS).encode(columns)[0], LABELS)
    assert batch["label"].to_pylist() == [0.0, 2.5]


def test_the_templates_are_what_the_installed_pyarrow_writes() -> None:
    script = Path(__file__).parents[4] / "scripts" / "log_templates.py"
    made = runpy.run_path(str(script))["module"]()
    assert Path(templates.__file__).read_text(encoding="utf-8") == made


def test_the_names_of_the_fields_are_those_of_the_schemas() -> None:
    assert list(PREDICTION_FIELDS) == PREDICTIONS.names
    assert list(LABEL_FIELDS) == LABELS.names


def test_a_missing_column_is_named() -> None:
    columns = dict(prediction_rows(["a"]))
    del columns["score"]
    with pytest.raises(DataError, match="'score' is missing"):
        MessageWriter(templates.PREDICTIONS).encode(columns)


def test_a_type_that_no_column_has_is_refused() -> None:
    with pytest.raises(DataError, match="date32"):
        MessageWriter(templates.LABELS._replace(fields=(("day", "date32", False),)))
