"""The performance gate measures the packaged bundle in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from skops.io import dump

from trimtab.bundle.spec import read_spec, write_spec
from trimtab.gates.inputs import GateInputs
from trimtab.gates.measure import Measurement
from trimtab.gates.performance import TooMuch, judge_performance, run_measure
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
    assert f"{latency.value - 0.1:.3g} ms over the limit of 0.1 ms (gates.performance.p99)" in latency.reason
    assert memory.verdict == "fail"
    assert "over the limit of 20 MB (gates.performance.memory)" in memory.reason


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


def test_what_has_a_limit_is_judged_and_all_is_noted(make: Make, bundle: Path) -> None:
    limits = Performance(p99=10_000_000, cold_start=1, size=1, cost_per_1000=0.0)
    found = {result.metric: result for result in judge_performance(make(folder=bundle), limits)}
    assert [found[name].verdict for name in ("p99_ms", "cold_start_s", "size_mb", "cost_per_1000")] == [
        "pass",
        "fail",
        "fail",
        "fail",
    ]
    files = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    assert found["size_mb"].value == pytest.approx(files / 1e6)
    details = found["p99_ms"].details
    assert details["cold_start_seconds"] > details["load_seconds"]
    assert len(details["rounds_p99_us"]) == 5
    assert details["p99_us"] == sorted(details["rounds_p99_us"])[2]
    assert "load " in found["p99_ms"].reason
    assert 0 < found["cost_per_1000"].value < 0.01


def test_a_process_that_takes_far_too_much_memory_is_ended(make: Make, bundle: Path) -> None:
    found = run_measure(bundle, most=20_000_000)
    assert isinstance(found, TooMuch)
    assert found.taken > 20_000_000


def test_a_model_that_needs_8_gb_is_refused(make: Make, flights: Any, write_bundle: Write, tmp_path: Path) -> None:
    # given a graph that adds up 2,000,000,000 numbers of 4 bytes for each answer
    folder = write_bundle(tmp_path / "huge", needs_8_gb(flights.graph()))

    # then its process is ended long before it has taken them, and the reason says so
    (result,) = judge_performance(make(folder=folder), Performance(memory=200_000_000))
    assert (result.metric, result.verdict) == ("memory_mb", "fail")
    assert 700 < result.value < 8_000
    assert "was ended when it had taken" in result.reason
    assert "the limit is 200 MB" in result.reason


def needs_8_gb(graph: bytes) -> bytes:
    model, name = onnx.load_from_string(graph), "probabilities"
    for node in model.graph.node:
        node.output[:] = [f"{each}_of_model" if each == name else each for each in node.output]
    shape = helper.make_tensor("many", TensorProto.INT64, [1], [2_000_000_000])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [1e-9])
    model.graph.initializer.extend([shape, zero])
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["many"], ["numbers"], value=value),
            helper.make_node("ReduceMax", ["numbers"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
            helper.make_node("Add", [f"{name}_of_model", "nothing"], [name]),
        ]
    )
    made: bytes = model.SerializeToString()
    return made
