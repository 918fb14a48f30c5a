"""Loading a bundle: verified first, warm when it serves, a clear error otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.bundle.spec import Spec
from trimtab.errors import DataError
from trimtab.serving.core.loaded_bundle import load_bundle
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import BundleOrder
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec


@pytest.fixture
def artifacts(tmp_path: Path) -> FolderArtifacts:
    return FolderArtifacts(tmp_path)


def register(artifacts: FolderArtifacts, *, graph: bytes | None = None, **changed: Any) -> BundleOrder:
    spec = plain_spec("delay", ["a", "b"], **changed)
    folder = artifacts.staging()
    digest = pack_bundle(folder, graph or lookup_graph([0.1, 0.8], 2), spec)
    path = artifacts.open(artifacts.publish(folder, "bundles/delay/1"))
    return BundleOrder("delay/1", "delay", 1, str(path), digest)


def test_a_good_bundle_is_ready_to_score(artifacts: FolderArtifacts) -> None:
    loaded = load_bundle(register(artifacts), NumericColumns)
    vectors = loaded.vectorizer.vectors({"a": [0, 1], "b": [None, 5]}, [0, 0])
    assert loaded.scorer.score(vectors) == pytest.approx([0.1, 0.8])
    np.testing.assert_array_equal(vectors, np.array([[0, np.nan], [1, 5]], dtype=np.float32))


def test_nothing_is_opened_before_the_digest_is_checked(artifacts: FolderArtifacts) -> None:
    record = register(artifacts)
    opened: list[Path] = []

    def factory(folder: Path, spec: Spec) -> NumericColumns:
        opened.append(folder)
        return NumericColumns(folder, spec)

    with pytest.raises(DataError, match=r"bundle delay/1 cannot be loaded: .* is not the registered"):
        load_bundle(msgspec.structs.replace(record, digest="0" * 64), factory)
    (Path(record.folder) / "model.onnx").chmod(0o644)
    (Path(record.folder) / "model.onnx").write_bytes(b"other")
    with pytest.raises(DataError, match=r"model\.onnx: content differs"):
        load_bundle(record, factory)
    assert opened == []


def test_a_bundle_that_is_not_there_is_named(artifacts: FolderArtifacts) -> None:
    record = msgspec.structs.replace(register(artifacts), folder="bundles/delay/9")
    with pytest.raises(DataError, match="bundle delay/1 cannot be loaded"):
        load_bundle(record, NumericColumns)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"graph": b"no graph"}, "cannot be loaded"),
        ({"graph": lookup_graph([0.1], 3)}, "the model does not score rows of 2 features"),
        ({"graph": lookup_graph([0.1], 2, task="regression")}, "needs an output 'probabilities'|does not score"),
        ({"model": "fraud"}, "made for model 'fraud', registered for 'delay'"),
        ({"request_columns": ("a",)}, "feature 'b' is no request column"),
    ],
)
def test_what_cannot_serve_is_refused(artifacts: FolderArtifacts, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_bundle(register(artifacts, **changed), NumericColumns)


class Broken:
    """A vectorizer whose project code does not import."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        raise ModuleNotFoundError("No module named 'flights'")

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        raise NotImplementedError


def test_code_that_does_not_import_is_a_clear_error(artifacts: FolderArtifacts) -> None:
    with pytest.raises(DataError, match="ModuleNotFoundError: No module named 'flights'"):
        load_bundle(register(artifacts), Broken)
