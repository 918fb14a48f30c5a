"""bundle.json: written and read back, or refused with the field that is wrong."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.bundle.spec import Spec, read_spec, write_spec
from trimtab.errors import DataError

SPEC = Spec(
    model="delay",
    task="binary",
    label="late",
    features=("punctuality__count_1d", "distance"),
    request_columns=("carrier", "distance"),
    entity_keys=("carrier",),
    timestamp="scheduled_at",
    threshold=1 / 9,
    run="some-run",
    dataset="some-dataset",
    views=("punctuality@09e1558d0162",),
    code_hash="0123456789ab",
)


def test_a_spec_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_spec(tmp_path, SPEC)
    assert read_spec(tmp_path) == SPEC


def test_a_spec_is_text_that_a_person_can_read(tmp_path: Path) -> None:
    write_spec(tmp_path, SPEC)
    text = (tmp_path / "bundle.json").read_text()
    assert '\n  "model": "delay",\n' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "ranking"}, r"\$\.task"),
        ({"format": 2}, r"\$\.format"),
        ({"threshold": "high"}, r"\$\.threshold"),
        ({"features": "distance"}, r"\$\.features"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    known = msgspec.to_builtins(SPEC)
    (tmp_path / "bundle.json").write_bytes(msgspec.json.encode({**known, **change}))
    with pytest.raises(DataError, match=rf"bundle\.json: .*{words}"):
        read_spec(tmp_path)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    known = {name: value for name, value in msgspec.to_builtins(SPEC).items() if name != "label"}
    (tmp_path / "bundle.json").write_bytes(msgspec.json.encode(known))
    with pytest.raises(DataError, match="missing required field `label`"):
        read_spec(tmp_path)


def test_a_folder_without_one_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file; is .* a bundle\?"):
        read_spec(tmp_path)


def test_a_bundle_of_before_is_read_with_defaults(tmp_path: Path) -> None:
    # given a spec that says nothing of runtimes, request types or calibration
    later = ("runtime", "model_file", "runtime_reason", "request_types", "calibration")
    known = {name: value for name, value in msgspec.to_builtins(SPEC).items() if name not in later}
    (tmp_path / "bundle.json").write_bytes(msgspec.json.encode(known))
    spec = read_spec(tmp_path)
    assert spec == SPEC
    assert (spec.runtime, spec.model_file, spec.request_types, spec.calibration) == ("onnx", "model.onnx", {}, None)


@pytest.mark.parametrize("content", [b"\xff", b'{"model": "\xff"}', b"", b"[]"])
def test_what_is_no_json_of_a_spec_says_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(DataError, match=r"bundle\.json: "):
        read_spec(tmp_path)
