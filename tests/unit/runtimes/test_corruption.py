"""A bundle as training makes it, damaged or tampered with in every file: refused before any of them is opened."""

from __future__ import annotations

import builtins
import os
import pickle
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.bundle.manifest import MANIFEST, verify, write_manifest
from trimtab.bundle.spec import Spec, read_spec, write_spec
from trimtab.errors import DataError
from trimtab.runtimes.explanations import open_explainer
from trimtab.runtimes.opening import open_scorer
from trimtab.testing.bundles import lookup_graph, plain_spec

FILES = {
    "MLmodel": b"flavors: {}\n",
    "code/definitions.py": b"answer = 42\n",
    "gate_report.json": b'{"verdict": "pass"}',
    "model.skops": b"PK not opened",
    "reference/windows.json": b"[]",
    "reference/rows.parquet": b"PAR1",
    "requirements.txt": b"numpy==2\n",
}
NAMES = sorted([*FILES, "model.onnx", "bundle.json", "reference/background.npy", MANIFEST])


def make(folder: Path) -> str:
    """Write a bundle with a file of each kind; return its digest."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    np.save(folder / "reference" / "background.npy", np.zeros((2, 1), dtype=np.float32))
    (folder / "model.onnx").write_bytes(lookup_graph([0.25, 0.75]))
    write_spec(folder, plain_spec("delay", ["a"]))
    return write_manifest(folder)


def load(folder: Path, digest: str) -> Spec:
    """Load a bundle as a server does."""
    verify(folder, digest)
    spec = read_spec(folder)
    scorer = open_scorer(folder, spec)
    open_explainer(folder, spec, scorer)
    scorer.score(np.zeros((1, 1), dtype=np.float32))
    return spec


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("corruption") / "bundle"
    folder.mkdir()
    return folder, make(folder)


@pytest.fixture
def bundle(whole: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """A bundle to be damaged, and the digest that it was registered with."""
    return Path(shutil.copytree(whole[0], tmp_path / "bundle")), whole[1]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of models that were opened by their runtime, in spite of everything."""
    seen: list[str] = []
    monkeypatch.setattr("trimtab.runtimes.opening.import_module", lambda name: seen.append(name))
    return seen


def test_the_whole_bundle_loads(bundle: tuple[Path, str]) -> None:
    assert load(*bundle).model == "delay"


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_in_any_file_is_refused_before_the_model_is_opened(
    name: str, bundle: tuple[Path, str], opened: list[str]
) -> None:
    folder, digest = bundle
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 4
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=r"content differs from the manifest|is not the registered|not a manifest"):
        load(folder, digest)
    assert opened == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_of_any_file_can_be_another(data: st.DataObject, whole: tuple[Path, str]) -> None:
    folder, digest = whole
    path = folder / data.draw(st.sampled_from(NAMES))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    other = data.draw(st.integers(1, 255))
    try:
        path.write_bytes(before[:at] + bytes([before[at] ^ other]) + before[at + 1 :])
        with pytest.raises(DataError):
            verify(folder, digest)
    finally:
        path.write_bytes(before)
    verify(folder, digest)


@pytest.mark.parametrize("name", NAMES)
def test_any_missing_file_is_named(name: str, bundle: tuple[Path, str], opened: list[str]) -> None:
    folder, digest = bundle
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{Path(name).name}: (listed in the manifest but missing|no such file)"):
        load(folder, digest)
    assert opened == []


@pytest.mark.parametrize("name", NAMES)
def test_any_cut_or_lengthened_file_is_refused(name: str, bundle: tuple[Path, str]) -> None:
    folder, digest = bundle
    content = (folder / name).read_bytes()
    for other in (content[:-1], content + b"\0", b""):
        (folder / name).write_bytes(other)
        with pytest.raises(DataError):
            load(folder, digest)


@pytest.mark.parametrize("name", ["sitecustomize.py", "code/numpy.py", "model.pkl", ".hidden", "reference/model.onnx"])
def test_any_added_file_is_named(name: str, bundle: tuple[Path, str]) -> None:
    folder, digest = bundle
    (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"files that the manifest does not list: {name}"):
        load(folder, digest)


@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_the_place_of_any_file_is_refused(name: str, bundle: tuple[Path, str]) -> None:
    # given the very same content, elsewhere
    folder, digest = bundle
    elsewhere = folder.parent / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(DataError, match=rf"{Path(name).name}: a bundle holds files only; this is a link"):
        load(folder, digest)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "code/../../outside", "./../outside", "..\\outside"])
def test_a_name_in_the_manifest_that_leads_outside_is_refused(
    name: str, bundle: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a manifest that is valid in itself and registered as it is
    folder, _ = bundle
    (folder.parent / "outside").write_bytes(b"")
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    manifest["files"][name] = sha256(b"").hexdigest()
    content = msgspec.json.encode(manifest)
    (folder / MANIFEST).write_bytes(content)

    # then it is refused without that file having been opened
    looked_at: list[str] = []
    real = Path.open

    def noting(path: Path, *args: Any, **options: Any) -> Any:
        looked_at.append(str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", noting)
    with pytest.raises(DataError, match="leads outside the bundle"):
        load(folder, sha256(content).hexdigest())
    assert not [path for path in looked_at if "outside" in path or "hostname" in path]


def test_a_spec_that_leads_outside_is_refused(bundle: tuple[Path, str]) -> None:
    # given a bundle whose manifest holds, and whose spec points to another folder
    folder, _ = bundle
    (folder.parent / "other.onnx").write_bytes(lookup_graph([0.5]))
    write_spec(folder, plain_spec("delay", ["a"], model_file="../other.onnx"))
    with pytest.raises(DataError, match=r"the model's file '\.\./other\.onnx' leads outside the folder"):
        load(folder, write_manifest(folder))


class Evil:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("import builtins; builtins.trimtab_was_here = True",))


@pytest.mark.parametrize(
    ("runtime", "name", "words"),
    [
        ("onnx", "model.onnx", "ONNX Runtime cannot load it"),
        ("lightgbm", "model.lgb", "LightGBM cannot load it"),
        ("xgboost", "model.ubj", "XGBoost cannot load it"),
        ("skops", "model.skops", "not a skops file"),
        ("pyfunc", "model.pkl", r"serving: \{ trust: \[pyfunc\] \}"),
    ],
)
def test_a_pickle_inside_is_never_unpickled(runtime: str, name: str, words: str, bundle: tuple[Path, str]) -> None:
    # given a bundle whose digests hold, with a pickle where the model should be, and another for a background
    folder, _ = bundle
    (folder / name).write_bytes(pickle.dumps(Evil()))
    write_spec(folder, plain_spec("delay", ["a"], runtime=runtime, model_file=name))
    with pytest.raises(DataError, match=words):
        load(folder, write_manifest(folder))
    assert not hasattr(builtins, "trimtab_was_here")


def test_a_pickle_in_the_place_of_the_background_is_never_unpickled(bundle: tuple[Path, str]) -> None:
    folder, _ = bundle
    (folder / "reference" / "background.npy").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"background\.npy: not an array"):
        load(folder, write_manifest(folder))
    assert not hasattr(builtins, "trimtab_was_here")


def test_a_device_or_a_pipe_is_refused(bundle: tuple[Path, str]) -> None:
    folder, digest = bundle
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    with pytest.raises(DataError, match=r"model\.onnx: a bundle holds files only"):
        load(folder, digest)
