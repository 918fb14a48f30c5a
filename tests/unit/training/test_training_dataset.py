"""Freezing a frame: content decides the id, time decides the split."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.clock import ManualClock
from trimtab.definitions.models import Model
from trimtab.errors import DataError, StageError
from trimtab.records.training import DatasetVersion
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.training.dataset import freeze, load

Freeze = Callable[..., DatasetVersion]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2014, 1, 2, tzinfo=UTC))


@pytest.fixture
def freezing(model: Model, artifacts: FolderArtifacts, clock: ManualClock) -> Freeze:
    def make(frame: pl.DataFrame, **changed: Any) -> DatasetVersion:
        usual: dict[str, Any] = {
            "model": model,
            "tables": {"flights": "flights@1"},
            "as_of": datetime(2014, 1, 1, tzinfo=UTC),
            "start": None,
            "holdout_share": 0.25,
            "min_examples": 500,
            "artifacts": artifacts,
            "clock": clock,
            "keep": ["carrier"],
        }
        return freeze(frame, **{**usual, **changed})

    return make


def test_a_frozen_dataset_comes_back_split_by_time(
    flights: pl.DataFrame, freezing: Freeze, artifacts: FolderArtifacts
) -> None:
    # when flights are frozen and loaded
    version = freezing(flights)
    frozen = load(version, artifacts)

    # then all rows are there, and the latest quarter of the labelled rows' time is the holdout
    labelled = flights.filter(pl.col("label").is_not_null())
    first, last = labelled["timestamp"].min(), labelled["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    assert abs(version.split_at - (last - (last - first) / 4)) < timedelta(milliseconds=1)
    split = np.datetime64(version.split_at.replace(tzinfo=None), "us")
    assert frozen.train.timestamps.max() < split <= frozen.holdout.timestamps.min()
    assert len(frozen.frame) == version.rows == len(flights)
    assert len(frozen.train.y) + len(frozen.holdout.y) == version.labelled == len(labelled)
    assert version.holdout_rows == len(frozen.holdout.y) == len(frozen.holdout_groups["carrier"])
    assert version.rows > version.labelled, "cancelled flights have no label"
    assert version.label_mean == pytest.approx(labelled["label"].mean())


def test_when_a_label_became_known_is_kept_and_part_of_the_id(
    flights: pl.DataFrame, freezing: Freeze, artifacts: FolderArtifacts
) -> None:
    late = pl.when(pl.col("label").is_not_null()).then(pl.col("timestamp") + timedelta(hours=9))
    version = freezing(flights.with_columns(late.alias("label_known_at")))
    train = load(version, artifacts).train
    assert train.known_at is not None
    assert (train.known_at - train.timestamps == np.timedelta64(9, "h")).all()
    before = freezing(flights)
    assert before.id != version.id
    assert load(before, artifacts).train.known_at is None


def test_a_row_at_the_split_is_in_the_holdout(
    flights: pl.DataFrame, freezing: Freeze, artifacts: FolderArtifacts
) -> None:
    # given a row a minute, the first a day before the last
    start, minutes = datetime(2013, 1, 1, tzinfo=UTC), 24 * 60
    labelled = flights.filter(pl.col("label").is_not_null()).head(minutes + 1)
    times = [start + timedelta(minutes=n) for n in range(minutes + 1)]
    frame = labelled.with_columns(timestamp=pl.Series(times, dtype=pl.Datetime("us", "UTC")))
    # then the row of the split is no training row
    version = freezing(frame)
    frozen = load(version, artifacts)
    assert version.split_at == start + timedelta(hours=18)
    assert (len(frozen.train.y), len(frozen.holdout.y)) == (minutes * 3 // 4, minutes // 4 + 1)
    assert version.holdout_rows == len(frozen.holdout.y)


def test_arrays_are_as_trainers_expect_them(
    flights: pl.DataFrame, freezing: Freeze, artifacts: FolderArtifacts, model: Model
) -> None:
    train = load(freezing(flights), artifacts).train
    assert train.X.dtype == np.float32
    assert train.X.flags.c_contiguous
    assert train.y.dtype == np.float64
    assert set(np.unique(train.y)) == {0.0, 1.0}
    assert train.timestamps.dtype == np.dtype("datetime64[us]")
    assert (np.diff(train.timestamps) >= np.timedelta64(0)).all()
    assert train.feature_names == model.feature_names


def test_the_order_of_rows_does_not_matter(flights: pl.DataFrame, freezing: Freeze, artifacts: FolderArtifacts) -> None:
    first = freezing(flights)
    second = freezing(flights.sample(fraction=1.0, shuffle=True, seed=3))
    assert first == second
    assert artifacts.names("datasets/") == [first.path]


def test_the_same_content_is_the_same_record_later(flights: pl.DataFrame, freezing: Freeze, clock: ManualClock) -> None:
    first = freezing(flights)
    clock.sleep(3600)
    assert freezing(flights, as_of=datetime(2014, 2, 1, tzinfo=UTC)) == first


@pytest.mark.parametrize(
    "change",
    [
        {"tables": {"flights": "flights@2"}},
        {"holdout_share": 0.3},
        {"keep": []},
    ],
)
def test_what_it_was_made_from_counts(flights: pl.DataFrame, freezing: Freeze, change: dict[str, Any]) -> None:
    assert freezing(flights, **change).id != freezing(flights).id


def test_one_changed_value_changes_the_id(flights: pl.DataFrame, freezing: Freeze) -> None:
    changed = flights.with_columns(pl.when(pl.int_range(pl.len()) == 17).then(1.0).otherwise("hour").alias("hour"))
    assert freezing(changed).id != freezing(flights).id


def test_a_feature_may_also_be_a_sensitive_group(
    flights: pl.DataFrame, freezing: Freeze, artifacts: FolderArtifacts
) -> None:
    frozen = load(freezing(flights, keep=["month", "carrier"]), artifacts)
    assert frozen.frame.columns.count("month") == 1
    assert set(np.unique(frozen.holdout_groups["month"])) == {10.0, 11.0, 12.0}


def test_categories_are_kept_as_text(flights: pl.DataFrame, freezing: Freeze, artifacts: FolderArtifacts) -> None:
    frame = flights.with_columns(pl.col("carrier").cast(pl.Categorical))
    assert "UA" in load(freezing(frame), artifacts).holdout_groups["carrier"]
    assert freezing(frame).id == freezing(flights).id


def test_a_damaged_file_is_noticed(flights: pl.DataFrame, freezing: Freeze, artifacts: FolderArtifacts) -> None:
    version = freezing(flights)
    path = artifacts.open(version.path) / "data.parquet"
    rows = pl.read_parquet(path)
    rows.with_columns(pl.col("label").fill_null(1.0)).write_parquet(path)
    with pytest.raises(DataError, match="content hash"):
        load(version, artifacts)


def test_too_few_labels_say_how_many(flights: pl.DataFrame, freezing: Freeze) -> None:
    known = pl.col("label").is_not_null()
    few = pl.concat([flights.filter(known).head(95), flights.filter(~known).head(5)])
    with pytest.raises(StageError, match=r"has 95 labelled examples among 100 rows.*asks for 500"):
        freezing(few)


def test_one_class_only_is_named(flights: pl.DataFrame, freezing: Freeze) -> None:
    with pytest.raises(DataError, match=r"training part .* all of class 0; expected both"):
        freezing(flights.with_columns(pl.when(pl.col("label") >= 0).then(0.0).alias("label")))


def test_a_binary_label_is_zero_or_one(flights: pl.DataFrame, freezing: Freeze) -> None:
    with pytest.raises(DataError, match=r"labels \[2.0\]; expected 0 or 1"):
        freezing(flights.with_columns(pl.col("label") + 1))


def test_wrong_frames_are_refused(flights: pl.DataFrame, freezing: Freeze) -> None:
    with pytest.raises(DataError, match=r"lacks the columns \['distance'\]"):
        freezing(flights.drop("distance"))
    with pytest.raises(DataError, match="expected microseconds in UTC"):
        freezing(flights.with_columns(pl.col("timestamp").dt.replace_time_zone(None)))
    with pytest.raises(DataError, match="column 'hour' is String; expected numbers"):
        freezing(flights.with_columns(pl.col("hour").cast(pl.String)))
    with pytest.raises(StageError, match=r"no examples known by 2014-01-01"):
        freezing(flights.head(0))


def test_rows_of_one_moment_cannot_be_split(flights: pl.DataFrame, freezing: Freeze) -> None:
    moment = flights["timestamp"][0]
    with pytest.raises(DataError, match=r"training part .* has 0 labelled rows"):
        freezing(flights.with_columns(pl.lit(moment).alias("timestamp")))
