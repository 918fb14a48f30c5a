"""The performance gate measures the packaged bundle in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.neighbors import KNeighborsClassifier

from trimtab.gates.inputs import GateInputs
from trimtab.gates.measure import Measurement
from trimtab.gates.performance import judge_performance, run_measure
from trimtab.policy import Performance

Make = Callable[..., GateInputs]
Write = Callable[[Path, bytes], Path]


@pytest.fixture(scope="module")
def bundle(flights: Any, write_bundle: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "good", flights.graph())


def test_a_small_graph_passes_generous_limits(make: Make, bundle: Path) -> None:
    latency, memory = judge_performance(make(folder=bundle), Performance())
    assert (latency.metric, latency.verdict, latency.threshold) == ("p99_ms", "pass", 10.0)
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
