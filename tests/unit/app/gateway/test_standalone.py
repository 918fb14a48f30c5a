"""What `trimtab serve PATH` refuses before any process starts, and what it says to do instead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.app.gateway.standalone import StandaloneOptions, refuse_public, standalone_config
from trimtab.errors import UsageError
from trimtab.serving.processes.listening import GatewayConfig

MLMODEL = """
flavors:
  sklearn: {pickled_model: model.pkl, serialization_format: pickle}
  python_function: {loader_module: mlflow.sklearn}
signature:
  inputs: '%s'
  outputs: '[{"type": "double", "name": "y"}]'
"""


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """Return the folder of an MLflow model that must be unpickled."""
    folder = tmp_path / "pickled"
    folder.mkdir()
    columns = json.dumps([{"type": "double", "name": "x", "required": True}])
    (folder / "MLmodel").write_text(MLMODEL % columns)
    (folder / "model.pkl").write_bytes(b"never read")
    return folder


def config(folder: Path, asked: StandaloneOptions | None = None) -> GatewayConfig:
    return standalone_config(folder, folder.parent / "run", asked or StandaloneOptions())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rf.onnx", r"rf.onnx: this is a file; expected a folder.*mlflow\.onnx\.save_model\(onnx\.load\('rf\.onnx'\)"),
        ("m.pkl", r"this is a file.*mlflow\.sklearn\.save_model.*serialization_format='skops'"),
        ("model.bin", r"this is a file.*mlflow\.<flavour>\.save_model"),
    ],
)
def test_of_a_file_is_said_how_to_make_a_folder_of_it(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"a model")
    with pytest.raises(UsageError, match=words):
        config(tmp_path / name)


def test_a_folder_that_is_not_there_is_a_wrong_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing is not there; expected a folder: a bundle, or an MLflow model"):
        config(tmp_path / "nothing")


def test_a_model_with_pickles_needs_trust_before_anything_starts(pickled: Path) -> None:
    with pytest.raises(UsageError, match=r"loaded by unpickling.*model\.pkl.*--trust pyfunc"):
        config(pickled)
    assert config(pickled, StandaloneOptions(trust=["pyfunc"], task="regression")).options.trust == ("pyfunc",)


@pytest.mark.parametrize("name", ["foo", "pyfunk"])
def test_trust_in_what_is_nothing_is_refused(name: str, pickled: Path) -> None:
    with pytest.raises(UsageError, match=f"--trust {name}: expected pyfunc, or a type.*pyfunc"):
        config(pickled, StandaloneOptions(trust=["pyfunc", name]))


def test_a_log_that_cannot_be_kept_is_refused_at_once(pickled: Path, tmp_path: Path) -> None:
    asked = StandaloneOptions(trust=["pyfunc"], task="regression")
    for folder, words in (("/dev/null", "this is no folder"), ("/proc/foo", "cannot be made")):
        with pytest.raises(UsageError, match=f"--log {folder}: .*{words}"):
            config(pickled, replace(asked, log=Path(folder)))
    config(pickled, replace(asked, log=tmp_path / "new" / "log"))
    assert (tmp_path / "new" / "log").is_dir()


def test_a_public_address_says_what_is_possible_without_a_project(pickled: Path) -> None:
    asked = StandaloneOptions(trust=["pyfunc"], task="regression")
    refuse_public(config(pickled, asked))
    public = config(pickled, replace(asked, host="0.0.0.0"))
    with pytest.raises(UsageError, match="has no tokens: leave --host out"):
        refuse_public(public)
    refuse_public(replace(public, public="the platform asks who calls"))
