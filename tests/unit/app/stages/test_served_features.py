"""A file that comes late makes the features of the tables differ from those that were served: this is told, or used."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.app.stages.gate_inputs import other_features
from trimtab.app.stages.served_features import training_rows
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.bundle.typed_packing import pack_rows
from trimtab.clock import ManualClock, from_micros, to_micros
from trimtab.errors import StageError
from trimtab.features.online_plan import OnlinePlan
from trimtab.records.training import DatasetVersion, FeatureSkew
from trimtab.testing.judged import bundle_record
from trimtab.testing.predictions import prediction_rows
from trimtab.training.dataset import Frozen, examples, load, schema_of

DEFINITIONS = """
import trimtab as tt

visits = tt.FileSource("visits", "visits", timestamp="at", known_at="known")
examples = tt.FileSource("examples", "examples.csv", timestamp="at")
view = tt.FeatureView("v", tt.Entity("user"), visits, [tt.sum("spent", "3d"), tt.count("WINDOW")])
m = tt.Model("m", task="regression", examples=examples, label="y", features=["size", view])
"""
TYPED = """
import trimtab as tt

examples = tt.FileSource("examples", "examples.parquet", timestamp="at")
m = tt.Model("m", task="regression", examples=examples, label="y", input="frame", types={"note": "text"},
             features=["size", "zone", "note", "n", "day", "seen", "price", "rush"])
"""
POLICY = "project: visits\ntraining: { min_examples: 4, features_from: FROM }\n"
START = datetime(2024, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=18)
EXAMPLES, SERVED = 36, 30
COUNT = "v__count_3d"


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def opened(folder: Path, features_from: str, *, window: str = "3d", definitions: str = DEFINITIONS) -> Workspace:
    (folder / "definitions.py").write_text(definitions.replace("WINDOW", window))
    (folder / "trimtab.yaml").write_text(POLICY.replace("FROM", features_from))
    return open_workspace(folder, clock=ManualClock(day(19)))


def write_visits(folder: Path, name: str, *rows: str) -> None:
    (folder / "visits").mkdir(exist_ok=True)
    (folder / "visits" / name).write_text("\n".join(["user,at,known,spent", *rows]) + "\n")


def log(ws: Workspace, dataset: DatasetVersion, features: Any, **columns: Any) -> None:
    """Let version 1, trained on a data set, have answered the first rows with some features."""
    bundle = msgspec.structs.replace(
        bundle_record(1, model="m"), dataset=dataset.id, features=dataset.features, views=dataset.views
    )
    ws.metadata.put(bundle)
    rows = len(features)
    given = {
        "model": ["m"] * rows,
        "version": [1] * rows,
        "event_time": [to_micros(day(n / 2)) for n in range(rows)],
        "entities": [[("user", "7")]] * rows,
        "logged_at": [to_micros(day(19))] * rows,
        "features": features,
    }
    ws.predictions.append(prediction_rows([f"p{n}" for n in range(rows)], **given | columns))
    ws.predictions.close()


@pytest.fixture
def served(tmp_path: Path) -> DatasetVersion:
    """Serve the first rows, then bring a visit of 0 that was known long before in a late file."""
    rows = [f"7,{day(n / 2).isoformat()},{n},{n % 5},p{n}" for n in range(EXAMPLES)]
    (tmp_path / "examples.csv").write_text("\n".join(["user,at,y,size,answer", *rows]) + "\n")
    visits = [f"7,{day(n).isoformat()},{day(n + 0.25).isoformat()},{10**n}" for n in range(5)]
    write_visits(tmp_path, "1.csv", *visits)
    ws = opened(tmp_path, "offline")
    ingesting.ingest(ws)
    dataset = pipeline.snapshot(ws, "m", as_of=AS_OF)
    plan = OnlinePlan(ws.model("m"), ws.online, {"user": "integer", "size": "integer"})
    at = [to_micros(day(n / 2)) for n in range(SERVED)]
    vectors = plan.vectors({"user": [7] * SERVED, "size": [n % 5 for n in range(SERVED)]}, at)
    log(ws, dataset, [row.tolist() for row in vectors])
    write_visits(tmp_path, "2.csv", f"7,{day(2.1).isoformat()},{day(2.2).isoformat()},0")
    ingesting.ingest(ws)
    return dataset


def values(ws: Workspace, dataset: DatasetVersion) -> pl.DataFrame:
    found: Frozen = load(dataset, ws.artifacts)
    return found.frame


def test_another_version_gets_the_features_that_were_served_where_the_training_set_has_them(
    served: DatasetVersion, tmp_path: Path
) -> None:
    ws = opened(tmp_path, "log")
    write_visits(tmp_path, "3.csv", f"7,{day(14.1).isoformat()},{day(14.2).isoformat()},0")
    ingesting.ingest(ws)
    frozen = load(pipeline.snapshot(ws, "m", as_of=AS_OF), ws.artifacts)
    offline = load(pipeline.snapshot(opened(tmp_path, "offline"), "m", as_of=AS_OF), ws.artifacts)
    assert not np.array_equal(frozen.holdout.X, offline.holdout.X, equal_nan=True)
    assert np.array_equal(other_features(ws, tmp_path, frozen, None), frozen.holdout.X, equal_nan=True)


def test_compare_names_the_feature_that_a_late_file_changed_and_trains_on_offline_values(
    served: DatasetVersion, tmp_path: Path
) -> None:
    ws = opened(tmp_path, "compare")
    dataset = pipeline.snapshot(ws, "m", as_of=AS_OF)
    skew = {each.feature: each for each in dataset.skew}
    assert skew[COUNT] == FeatureSkew(feature=COUNT, rows=SERVED, differ=6, largest=1.0)
    assert [each.differ for name, each in skew.items() if name != COUNT] == [0, 0]
    assert dataset.warnings[:2] == (
        "30 of 36 rows were served, by entity keys and timestamp",
        f"feature '{COUNT}': the served value differs from the offline one in 6 of 30 rows (20.0%), by at most 1",
    )
    offline = pipeline.snapshot(opened(tmp_path, "offline"), "m", as_of=AS_OF)
    assert (offline.skew, offline.features_from, dataset.features_from) == ((), "offline", "compare")
    assert offline.id != dataset.id
    assert values(ws, dataset).equals(values(ws, offline))


def test_log_trains_on_what_was_served_and_leaves_the_other_rows_as_they_are(
    served: DatasetVersion, tmp_path: Path
) -> None:
    ws = opened(tmp_path, "log")
    dataset = pipeline.snapshot(ws, "m", as_of=AS_OF)
    before, found = values(ws, served), values(ws, dataset)
    assert found.equals(before)  # the late visit counts in no row that was served, and the others do not see it
    late = values(ws, pipeline.snapshot(opened(tmp_path, "offline"), "m", as_of=AS_OF))
    differs = late[COUNT].ne_missing(found[COUNT]).arg_true().to_list()
    assert [from_micros(late["timestamp"].to_physical()[n]) for n in differs] == [day(n / 2) for n in range(5, 11)]
    assert dataset.id != served.id
    assert dataset.warnings[0] == "30 of 36 rows were served, by entity keys and timestamp"


def test_answers_that_were_logged_later_do_not_count_when_a_set_is_made_again(
    served: DatasetVersion, tmp_path: Path
) -> None:
    ws, given = opened(tmp_path, "log"), {"as_of": AS_OF, "start": None, "keep": (), "without": ()}
    rows = training_rows(ws, ws.model("m"), ws.scan(as_of=AS_OF), **given, logged_by=day(18))  # type: ignore[arg-type]
    assert rows.warnings[0].startswith("0 of 36 rows were served")


def test_the_ids_of_predictions_take_precedence_over_keys(served: DatasetVersion, tmp_path: Path) -> None:
    outcomes = 'label="y", outcomes=tt.Outcomes(source=examples, prediction_id="answer", label="y"),'
    ws = opened(tmp_path, "compare", definitions=DEFINITIONS.replace('label="y",', outcomes))
    # one more answer for the same user and time, which keys could not tell from the first
    features = [[99.0, 99.0, 99.0]]
    ws.predictions.append(
        prediction_rows(
            ["other"],
            model=["m"],
            version=[1],
            entities=[[("user", "7")]],
            event_time=[to_micros(day(4))],
            features=features,
        )
    )
    ws.predictions.sync()
    dataset = pipeline.snapshot(ws, "m", as_of=AS_OF)
    assert dataset.warnings[0] == "30 of 36 rows were served, by prediction id"
    assert {each.feature: each.differ for each in dataset.skew}[COUNT] == 6
    by_keys = pipeline.snapshot(opened(tmp_path, "compare"), "m", as_of=AS_OF)
    assert by_keys.warnings[0].startswith(
        "29 of 36 rows were served, by entity keys and timestamp; 1 fit several answers"
    )


def test_a_view_with_another_definition_is_not_compared(served: DatasetVersion, tmp_path: Path) -> None:
    ws = opened(tmp_path, "log", window="4d")
    dataset = pipeline.snapshot(ws, "m", as_of=AS_OF)
    assert {each.feature: each.rows for each in dataset.skew} == {"size": 30, "v__spent_sum_3d": 0, "v__count_4d": 0}
    assert "2 features, such as 'v__spent_sum_3d' (0 rows), had fewer rows" in dataset.warnings[1]


def test_an_empty_log_leaves_all_rows_as_they_are_and_says_so(served: DatasetVersion, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / ".trimtab" / "predictions")
    dataset = pipeline.snapshot(opened(tmp_path, "log"), "m", as_of=AS_OF)
    assert dataset.warnings[0] == "0 of 36 rows were served, by entity keys and timestamp"
    assert "no feature was compared with its served values" in dataset.warnings


def test_a_model_without_keys_and_ids_is_told_what_to_add(tmp_path: Path) -> None:
    (tmp_path / "examples.csv").write_text("at,y,size\n" + "".join(f"{day(n).isoformat()},{n},{n}\n" for n in range(9)))
    definitions = DEFINITIONS.replace('["size", view]', '["size"]').replace("view = ", "# ").replace("visits = ", "# ")
    ws = opened(tmp_path, "log", definitions=definitions)
    ingesting.ingest(ws)
    with pytest.raises(StageError, match="has no column 'prediction_id'"):
        pipeline.snapshot(ws, "m", as_of=AS_OF)


def test_exact_values_of_typed_features_are_compared_and_taken(tmp_path: Path) -> None:
    numbers = range(9)
    pl.DataFrame(
        {
            "prediction_id": [f"p{n}" for n in numbers],
            "at": [day(n) for n in numbers],
            "y": [float(n) for n in numbers],
            "size": [n / 2 for n in numbers],
            "zone": ["ab"[n % 2] for n in numbers],
            "note": [None if n == 3 else f"t{n}" for n in numbers],
            "n": [2**40 + n for n in numbers],
            "day": [day(n).date() for n in numbers],
            "seen": [day(n / 7) for n in numbers],
            "price": pl.Series([f"{n}.25" for n in numbers]).cast(pl.Decimal(20, 2)),
            "rush": [None if n == 4 else n % 2 == 0 for n in numbers],
        }
    ).write_parquet(tmp_path / "examples.parquet")
    ws = opened(tmp_path, "offline", definitions=TYPED)
    ingesting.ingest(ws)
    dataset = pipeline.snapshot(ws, "m", as_of=AS_OF)
    frame = values(ws, dataset)
    changed = frame.with_columns(
        zone=pl.Series(["new", *frame["zone"][1:]]),
        n=pl.Series([None, frame["n"][1] + 1, *frame["n"][2:]], dtype=pl.Int64),
        note=pl.Series([*frame["note"][:8], "other"]),
        price=frame["price"].cast(pl.String).str.replace("5.25", "5.26", literal=True).cast(frame.schema["price"]),
        rush=frame["rush"].fill_null(True),
    )
    X = examples(changed, dataset.features, schema_of(dataset)).X
    assert isinstance(X, TypedMatrix)
    log(ws, dataset, np.asarray(X).tolist(), typed=pack_rows(X))
    ws = opened(tmp_path, "log", definitions=TYPED)
    found = pipeline.snapshot(ws, "m", as_of=AS_OF)
    skew = {
        each.feature: (each.differ, each.missing, None if each.largest is None else round(each.largest, 6))
        for each in found.skew
    }
    assert skew == {
        "size": (0, 0, None),
        "zone": (1, 0, None),
        "note": (1, 0, None),
        "n": (2, 1, 1.0),
        "day": (0, 0, None),
        "seen": (0, 0, None),
        "price": (1, 0, 0.01),
        "rush": (1, 1, None),
    }
    assert values(ws, found).equals(changed)
