"""Signatures: what was signed is what is there, by whom it was signed, or a refusal that says which."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from trimtab.bundle.manifest import verify
from trimtab.bundle.signature import check_signature, sign
from trimtab.errors import DataError, MissingExtra
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec

pytest.importorskip("model_signing")


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_keys(tmp_path, "release")


@pytest.fixture
def signed(keys: tuple[Path, Path], tmp_path: Path) -> Path:
    """A bundle that was signed."""
    folder = tmp_path / "bundle"
    pack_bundle(folder, lookup_graph([0.5]), plain_spec("delay", ["a"]))
    sign(folder, keys[0])
    return folder


def test_what_was_signed_holds(signed: Path, keys: tuple[Path, Path]) -> None:
    check_signature(signed, keys[1])
    verify(signed)
    assert sign(signed, keys[0]) == signed / "model.sig"
    check_signature(signed, keys[1])


def test_the_digest_of_a_bundle_is_the_same_before_and_after(signed: Path) -> None:
    digest = verify(signed)
    (signed / "model.sig").unlink()
    assert verify(signed, digest) == digest


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "MANIFEST.json"])
def test_a_changed_file_is_refused(name: str, signed: Path, keys: tuple[Path, Path]) -> None:
    content = bytearray((signed / name).read_bytes())
    content[len(content) // 2] ^= 1
    (signed / name).write_bytes(content)
    with pytest.raises(DataError, match=r"model\.sig: the signature does not hold for release\.pub\.pem"):
        check_signature(signed, keys[1])


def test_a_missing_and_an_added_file_are_refused(signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / "evil.py").write_text("")
    with pytest.raises(DataError, match="the signature does not hold"):
        check_signature(signed, keys[1])
    (signed / "evil.py").unlink()
    (signed / "model.onnx").unlink()
    with pytest.raises(DataError, match="the signature does not hold"):
        check_signature(signed, keys[1])


def test_files_that_git_would_ignore_are_no_way_in(signed: Path, keys: tuple[Path, Path]) -> None:
    for name in (".git/hooks/evil", ".gitignore", ".gitattributes"):
        (signed / name).parent.mkdir(parents=True, exist_ok=True)
        (signed / name).write_text("")
        with pytest.raises(DataError, match="the signature does not hold"):
            check_signature(signed, keys[1])
        (signed / name).unlink()


def test_somebody_else_s_signature_is_refused(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    # given a bundle that was changed and signed again with another key
    (signed / "model.onnx").write_bytes(b"other")
    sign(signed, make_keys(tmp_path, "other")[0])
    with pytest.raises(DataError, match="signed with another key"):
        check_signature(signed, keys[1])


def test_a_signature_of_another_bundle_is_refused(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    pack_bundle(other, lookup_graph([0.75]), plain_spec("delay", ["a"]))
    (other / "model.sig").write_bytes((signed / "model.sig").read_bytes())
    with pytest.raises(DataError, match="the signature does not hold"):
        check_signature(other, keys[1])


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"mediaType": "x"}'])
def test_what_is_no_signature_is_refused(content: bytes, signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / "model.sig").write_bytes(content)
    with pytest.raises(DataError, match="the signature does not hold"):
        check_signature(signed, keys[1])


def test_an_unsigned_bundle_says_who_asks(signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / "model.sig").unlink()
    with pytest.raises(DataError, match=r"no such file; policy serving\.signed_by asks for signed bundles"):
        check_signature(signed, keys[1])


def test_keys_that_are_none_are_named(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.pem: no such file; expected a key in PEM format"):
        sign(signed, tmp_path / "nowhere.pem")
    (tmp_path / "noise.pem").write_text("noise")
    with pytest.raises(DataError, match=r"cannot be signed with .*noise\.pem"):
        sign(signed, tmp_path / "noise.pem")
    sign(signed, keys[0])
    with pytest.raises(DataError, match=r"does not hold for noise\.pem"):
        check_signature(signed, tmp_path / "noise.pem")


def test_links_are_not_followed(signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / "more").symlink_to(signed.parent)
    with pytest.raises(DataError, match="more: a bundle holds files only"):
        check_signature(signed, keys[1])


def test_without_the_library_the_extra_is_named(
    signed: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.bundle.signature.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'trimtab\[signing\]'"):
        check_signature(signed, keys[1])
