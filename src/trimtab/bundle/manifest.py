"""MANIFEST.json: the SHA-256 of every file of a bundle, verified before any file is opened."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import msgspec

from trimtab.errors import DataError

MANIFEST = "MANIFEST.json"
SIGNATURE = "model.sig"
"""Signature over all files, including the manifest, which does not list it."""
MLFLOW_NOTE = "registered_model_meta"
"""File in which MLflow notes the name and version of a registered model when it loads one from its folder. No code of a
bundle reads it, so it may be there."""


class Manifest(msgspec.Struct, frozen=True):
    """Files by relative path with their SHA-256."""

    files: dict[str, str]


def write_manifest(folder: Path) -> str:
    """Write MANIFEST.json over all files in `folder` and return the digest of the manifest.

    Raises DataError for anything but files and folders, because links could lead outside.
    """
    files = {name: _sha256(folder / name) for name in file_names(folder) if name not in (MANIFEST, SIGNATURE)}
    content = msgspec.json.format(msgspec.json.encode(Manifest(files)), indent=2) + b"\n"
    (folder / MANIFEST).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def verify(folder: Path, digest: str | None = None) -> str:
    """Check every file against the manifest, and the manifest against `digest`; return the digest.

    Raises DataError, which names the file that is missing, added, changed or outside the folder.
    """
    path, there = folder / MANIFEST, set(file_names(folder))
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; a bundle without a manifest is not loaded") from None
    found = hashlib.sha256(content).hexdigest()
    if digest is not None and found != digest:
        raise DataError(f"{path}: digest {found[:12]}... is not the registered {digest[:12]}...")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a manifest: {error}") from None
    for name in manifest.files:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or "\\" in name:
            raise DataError(f"{path}: '{name}' leads outside the bundle")
    for name, expected in manifest.files.items():
        if name not in there:
            raise DataError(f"{folder / name}: listed in the manifest but missing")
        if _sha256(folder / name) != expected:
            raise DataError(f"{folder / name}: content differs from the manifest; the bundle was changed or damaged")
    extra = there - {*manifest.files, MANIFEST, SIGNATURE, MLFLOW_NOTE}
    if extra:
        raise DataError(f"{folder}: files that the manifest does not list: {', '.join(sorted(extra)[:5])}")
    return found


def file_names(folder: Path) -> list[str]:
    """Return the files below a folder by relative path, sorted. Raises DataError for links and the like."""
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DataError(f"{path}: a bundle holds files only; this is a link or a device")
        if path.is_file():
            names.append(path.relative_to(folder).as_posix())
    return names


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
