"""What a worker opens as its setup says: the log, and what computes a bundle's features."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from trimtab.app.gateway.worker_program import open_resources
from trimtab.clock import to_micros
from trimtab.errors import DataError
from trimtab.features.online_plan import OnlinePlan
from trimtab.serving.orders import Configure
from trimtab.serving.processes.worker import WorkerResources
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.catalog import open_online
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.bundles import plain_spec
from trimtab.testing.predictions import prediction_rows

DEFINITIONS = """
import trimtab as tt

rows = tt.FileSource("rows", "rows.parquet", timestamp="at")
delay = tt.Model("delay", task="binary", examples=rows, label="late", features=["a"])
"""


def opened(root: Path, **setup: str) -> WorkerResources:
    first = Configure(worker="w1", options=WorkerOptions(), run_folder=str(root), setup={"root": str(root), **setup})
    return open_resources(first)


def test_the_log_lies_under_the_root_and_is_written_in_the_worker_s_name(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_rows="2", segment_age_s="3600.0").predictions
    log.append(prediction_rows(["a", "b"]))
    log.append(prediction_rows(["c"]))
    log.close()
    assert [row["prediction_id"] for row in SegmentLog(tmp_path / "predictions").read()[0].to_pylist()] == [
        "a",
        "b",
        "c",
    ]
    names = [path.name for path in (tmp_path / "predictions").rglob("*") if path.is_file()]
    assert any("w1" in name for name in names)


def test_a_segment_ends_after_as_many_rows_as_the_policy_says(tmp_path: Path) -> None:
    counts = {}
    for segment_rows in ("1", "100"):
        root = tmp_path / segment_rows
        log = opened(root, segment_rows=segment_rows).predictions
        for id_ in ("a", "b", "c"):
            log.append(prediction_rows([id_]))
        log.close()
        counts[segment_rows] = len([path for path in (root / "predictions").rglob("*") if "w1" in path.name])
    assert counts["1"] > counts["100"]


def test_features_are_computed_by_the_code_in_the_bundle(tmp_path: Path) -> None:
    resources, spec = opened(tmp_path), plain_spec("delay", ["a"])
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    # without code of its own, features are the request's columns
    plain = resources.vectorizer_factory(bundle, spec)
    assert plain.vectors({"a": [1.5]}, [0]).tolist() == [[1.5]]
    assert not isinstance(plain, OnlinePlan)
    (bundle / "code").mkdir()
    (bundle / "code" / "definitions.py").write_text(DEFINITIONS)
    assert isinstance(resources.vectorizer_factory(bundle, spec), OnlinePlan)
    resources.predictions.close()
    shutil.rmtree(bundle)


def test_a_folder_alone_takes_columns_that_are_features_and_no_others(tmp_path: Path) -> None:
    make = opened(tmp_path, standalone="yes", predictions="none:").vectorizer_factory
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "definitions.py").write_text("raise RuntimeError('not to be run')")
    found = make(tmp_path, plain_spec("delay", ["a"])).vectors({"a": [2.0]}, [0])
    assert np.array_equal(found, [[2.0]])
    with pytest.raises(DataError, match=r"send all 2 features as the input X"):
        make(tmp_path, plain_spec("delay", ["a", "flights__mean"], request_columns=("a",))).vectors({"a": [2.0]}, [0])


def test_the_ages_of_views_are_those_of_the_bundles_that_are_open(tmp_path: Path) -> None:
    resources, code = opened(tmp_path), tmp_path / "bundle" / "code"
    code.mkdir(parents=True)
    more = """
payments = tt.FileSource("payments", "payments.parquet", timestamp="at")
spend = tt.FeatureView("spend", tt.Entity("card"), payments, [tt.count("1h")])
delay ="""
    (code / "definitions.py").write_text(DEFINITIONS.replace("delay =", more, 1).replace('["a"]', '["a", spend]'))
    plan = resources.vectorizer_factory(tmp_path / "bundle", plain_spec("delay", ["a", "spend__count_1h"]))
    assert isinstance(plan, OnlinePlan)
    assert resources.view_ages() == {}  # there are no values yet
    online = open_online(None, tmp_path)
    now = to_micros(resources.clock.now())
    online.write(plan.versions["spend"], [], until=now - 90_000_000)
    assert 90 <= resources.view_ages()["spend"] < 90 + 600
    online.close()
    resources.predictions.close()
