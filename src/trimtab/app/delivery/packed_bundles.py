"""The bundles that serve as archives, for platforms that run one bundle a container."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.errors import StageError
from trimtab.records.training import Bundle


class PackedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle in service. weight: percent of the traffic. archive: file with the bundle's files at its root."""

    role: str
    version: int
    weight: float
    digest: str
    archive: str


class PackedRevision(msgspec.Struct, frozen=True, kw_only=True):
    """What serves, and its archives. Former champions that stay as shadows are left out."""

    model: str
    number: int
    bundles: tuple[PackedBundle, ...]


def pack_serving(workspace: Workspace, model: str, folder: Path) -> PackedRevision:
    """Write the archives of what serves into a folder. Raises StageError when nothing serves.

    The same bundle gives the same bytes; an archive that is there is kept.
    """
    revision = open_rollouts(workspace, model).current()
    if revision is None:
        raise StageError(f"model '{model}': nothing has been deployed yet; run: trimtab deploy --model {model}")
    folder.mkdir(parents=True, exist_ok=True)
    packed = []
    for each in revision.assignments:
        if each.kept:
            continue
        bundle = workspace.metadata.get(Bundle, each.bundle)
        archive = folder / f"{model}-{each.version}-{bundle.digest[:12]}.tar.gz"
        if not archive.exists():
            _pack(workspace.artifacts.open(bundle.path), archive)
        packed.append(
            PackedBundle(
                role=each.role,
                version=each.version,
                weight=each.weight,
                digest=bundle.digest,
                archive=str(archive.resolve()),
            )
        )
    return PackedRevision(model=model, number=revision.number, bundles=tuple(packed))


def _pack(bundle: Path, archive: Path) -> None:
    part = archive.with_suffix(".part")
    with (
        part.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(each for each in bundle.rglob("*") if each.is_file()):
            member = tarfile.TarInfo(path.relative_to(bundle).as_posix())
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)
    part.replace(archive)
