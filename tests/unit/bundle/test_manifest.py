"""The manifest: what it lists is what is there, to the byte, and nothing leads outside."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from trimtab.bundle.manifest import MANIFEST, verify, write_manifest
from trimtab.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle folder with a manifest."""
    made = tmp_path / "bundle"
    for name, content in {"model.onnx": b"\x00graph", "bundle.json": b"{}", "code/definitions.py": b"x = 1\n"}.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    write_manifest(made)
    return made


def rewrite(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    """Change the list of files and write a manifest that is valid in itself."""
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    change(manifest["files"])
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def test_the_digest_is_that_of_the_manifest(folder: Path) -> None:
    digest = sha256((folder / MANIFEST).read_bytes()).hexdigest()
    assert verify(folder) == verify(folder, digest) == digest


def test_the_same_files_have_the_same_digest(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for path in sorted((p for p in folder.rglob("*") if p.is_file()), reverse=True):
        (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(folder)).write_bytes(path.read_bytes())
    assert write_manifest(copy) == verify(folder)


def test_the_manifest_lists_every_other_file(folder: Path) -> None:
    files = msgspec.json.decode((folder / MANIFEST).read_bytes())["files"]
    assert sorted(files) == ["bundle.json", "code/definitions.py", "model.onnx"]
    assert files["bundle.json"] == sha256(b"{}").hexdigest()


def test_a_file_of_the_manifest_s_name_further_down_is_a_file_like_any_other(folder: Path) -> None:
    (folder / "code" / MANIFEST).write_text("{}")
    write_manifest(folder)
    verify(folder)


def test_one_flipped_bit_is_found(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.onnx: content differs from the manifest"):
        verify(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "bundle.json").unlink()
    with pytest.raises(DataError, match=r"bundle\.json: listed in the manifest but missing"):
        verify(folder)


@pytest.mark.parametrize("name", ["evil.py", "code/evil.py", "deep/er/evil.py"])
def test_an_added_file_is_named(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    with pytest.raises(DataError, match=f"does not list: {name}"):
        verify(folder)


def test_the_note_that_mlflow_leaves_in_a_folder_is_no_damage(folder: Path) -> None:
    digest = verify(folder)
    (folder / "registered_model_meta").write_text("model_name: late\nmodel_version: '1'\n")
    assert verify(folder, digest) == digest


def test_another_digest_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"is not the registered 0000"):
        verify(folder, "0" * 64)


def test_a_changed_manifest_is_refused_by_its_digest(folder: Path) -> None:
    digest = verify(folder)
    (folder / "code" / "definitions.py").write_text("x = 2\n")
    write_manifest(folder)
    verify(folder)
    with pytest.raises(DataError, match="is not the registered"):
        verify(folder, digest)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "code/../../outside"])
def test_a_name_that_leads_outside_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "outside").write_text("")
    rewrite(folder, lambda files: files.update({name: sha256(b"").hexdigest()}))
    with pytest.raises(DataError, match=f"'{name}' leads outside the bundle"):
        verify(folder)


def test_a_link_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    (folder.parent / "outside").write_bytes((folder / "model.onnx").read_bytes())
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(folder.parent / "outside")
    with pytest.raises(DataError, match=r"model\.onnx: a bundle holds files only"):
        verify(folder)


def test_a_link_in_the_place_of_a_folder_is_refused(folder: Path) -> None:
    (folder / "code").rename(folder.parent / "elsewhere")
    (folder / "code").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(DataError, match="code: a bundle holds files only"):
        verify(folder)


def test_an_added_link_to_a_folder_is_refused(folder: Path) -> None:
    (folder / "more").symlink_to(folder.parent)
    with pytest.raises(DataError, match="more: a bundle holds files only"):
        verify(folder)


def test_a_pipe_is_refused_rather_than_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match="pipe: a bundle holds files only"):
        verify(folder)
    with pytest.raises(DataError, match="pipe: a bundle holds files only"):
        write_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b'{"files": {"a": 1}}', b"{}"])
def test_what_is_no_manifest_says_so(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(DataError, match=r"MANIFEST\.json: not a manifest"):
        verify(folder)


def test_without_a_manifest_nothing_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a bundle without a manifest is not loaded"):
        verify(tmp_path)
