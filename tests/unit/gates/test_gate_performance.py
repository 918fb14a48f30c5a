"""The performance gate measures the packaged bundle in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from skops.io import dump

from trimtab.bundle.spec import read_spec, write_spec
from trimtab.gates.inputs import GateInputs
from trimtab.gates.measure import Measurement
from trimtab.gates.performance import judge_performance, run_measure
from trimtab.policy.gates import Performance

Make = Callable[..., GateInputs]
Write = Callable[[Path, bytes], Path]


@pytest.fixture(scope="module")
def bundle(flights: Any, write_bundle: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "good", flights.graph())


def test_a_small_graph_passes_generous_limits(make: Make, bundle: Path) -> None:
    latency, memory = judge_performance(make(folder=bundle), Performance(p99=10_000_000))
    assert (latency.metric, latency.verdict, latency.threshold) == ("p99_ms", "pass", 10_000.0)
    assert (memory.metric, memory.verdict, memory.threshold) == ("memory_mb", "pass", 500.0)
    assert 0 < latency.details["p50_us"] <= latency.details["p99_us"] <= latency.details["max_us"]
    assert latency.details["calls"] >= 200
    assert latency.details["load_seconds"] > 0
    assert 10 < memory.value < 500


def test_a_graph_that_compares_with_every_row_is_too_slow(
    make: Make, flights: Any, write_bundle: Write, tmp_path: Path
) -> None:
    # given nearest neighbours, which look at hundreds of rows for each answer
    slow = flights.graph(estimator=KNeighborsClassifier(), rows=600)
    folder = write_bundle(tmp_path / "slow", slow)

    # then a tenth of a millisecond is too little, and the reason says by how much
    latency, memory = judge_performance(make(folder=folder), Performance(p99=100, memory=20_000_000))
    assert latency.verdict == "fail"
    assert f"{latency.value - 0.1:.3g} ms over the limit of 0.1 ms" in latency.reason
    assert memory.verdict == "fail"
    assert "over the limit of 20 MB" in memory.reason


def test_a_bundle_that_does_not_load_fails_with_its_error(make: Make, tmp_path: Path) -> None:
    (result,) = judge_performance(make(folder=tmp_path), Performance())
    assert result.verdict == "fail"
    assert result.metric == "loads"
    assert "bundle.json: no such file" in result.reason


def test_the_process_brings_little_but_the_bundle(bundle: Path) -> None:
    # given what the measuring process imports
    code = "import sys, trimtab.gates.measure; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert not loaded & {"sklearn", "scipy", "pandas", "polars", "mlflow", "pyarrow", "fairlearn", "pydantic"}


def test_files_beside_the_bundle_are_not_imported(flights: Any, write_bundle: Write, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", flights.graph())
    (folder / "numpy.py").write_text("raise SystemExit('imported from the bundle')\n")
    assert isinstance(run_measure(folder), Measurement)


def test_a_native_file_is_measured_with_what_the_policy_trusts(
    make: Make, flights: Any, write_bundle: Write, tmp_path: Path
) -> None:
    # given a bundle that serves from a skops file with types that are not known to be safe
    folder = write_bundle(tmp_path / "native", flights.graph())
    spec = msgspec.structs.replace(read_spec(folder), runtime="skops", model_file="model.skops")
    write_spec(folder, spec)
    estimator = DecisionTreeClassifier().fit(flights.X[:200], flights.y[:200] > 0)
    estimator.made_by = FunctionTransformer(os.path.basename)
    dump(estimator, folder / "model.skops")

    # then it fails without trust, with what to add, and is measured with it
    (broken,) = judge_performance(make(folder=folder), Performance())
    assert "not known to be safe" in broken.reason
    latency, _ = judge_performance(make(folder=folder, trust=("posixpath.basename",)), Performance())
    assert latency.details["calls"] > 0
