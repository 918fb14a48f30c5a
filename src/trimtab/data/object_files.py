"""Files of a source in an object store: found by a listing, copied here to be read, and known again by size and time.

The hash of an object takes its content, so it is kept in the cache folder for each URL, size and time of change. An
ingest copies an object only once. Credentials come from the environment or the machine, as the stores' own tools take
them: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trimtab import settings
from trimtab.clock import SystemClock
from trimtab.data.connectors.contract import Unreachable
from trimtab.data.local_file import SourceFile, file_hash
from trimtab.definitions.sources import FORMATS, FileSource
from trimtab.errors import DataError, StageError, nearest
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    from pyarrow import fs
else:
    fs = LazyLibrary("pyarrow.fs")  # it loads the libraries of three clouds

SETTLED = timedelta(minutes=5)
"""The time of change has whole seconds, so an object that is younger may change again unseen."""

_GLOB = re.compile(r"[*?\[]")
_COPIED_BYTES = 2**23


@dataclass(frozen=True)
class ObjectFile(SourceFile):
    """One object; `name` is its URL, and `path` where its content is copied to."""

    info: fs.FileInfo
    store: fs.FileSystem
    folder: TemporaryDirectory[str] = field(repr=False)

    @property
    def where(self) -> str:
        """The URL."""
        return self.name

    def hash(self) -> str:
        """Return the SHA-256 of the content, which is copied when its hash is not known."""
        key = hashlib.sha256(f"{self.name} {self.info.size} {self.info.mtime_ns}".encode()).hexdigest()
        known = settings.read().cache.expanduser() / "objects" / key
        if known.is_file():
            return known.read_text(encoding="ascii")
        self._copy()
        found = file_hash(self.path)
        if self.info.mtime < SystemClock().now() - SETTLED:
            known.parent.mkdir(parents=True, exist_ok=True)
            written = known.with_suffix(f".{os.getpid()}")
            written.write_text(found, encoding="ascii")
            written.replace(known)
        return found

    @contextmanager
    def local(self) -> Iterator[Path]:
        """Give the path of the copied content, and remove it afterwards."""
        self._copy()
        try:
            yield self.path
        except DataError as error:
            raise DataError(str(error).replace(str(self.path), self.name)) from None
        finally:
            self.path.unlink()

    def _copy(self) -> None:
        if self.path.is_file():
            return
        with _explained(self.name), self.store.open_input_stream(self.info.path) as content:
            written = self.path.with_suffix(".part")
            with written.open("wb") as file:
                shutil.copyfileobj(content, file, _COPIED_BYTES)
            after = self.store.get_file_info(self.info.path)
        if (after.size, after.mtime) != (self.info.size, self.info.mtime) or written.stat().st_size != after.size:
            raise DataError(f"{self.name}: the object changed while it was read; run this again when it is complete")
        written.rename(self.path)


def find_objects(source: FileSource) -> Sequence[ObjectFile]:
    """Return the data objects of a source in order of name.

    The path is that of an object, of a folder, or a glob, in which ** stands for folders of any depth.

    Raises:
        DataError: there is no object, or the store refuses to list them.
        Unreachable: the store does not answer.
        StageError: the environment lacks what the store needs.
    """
    scheme, _, asked = source.path.rstrip("/").partition("://")
    fixed = "/".join(asked.split("/")[: _fixed_parts(asked)])
    with _explained(f"{source.where}: {source.path}"):
        store = _store(scheme, asked.split("/")[0])
        listed = _listed(store, fixed, deep=fixed != asked)
        bucket = asked.split("/")[0]
        if not listed and store.get_file_info(bucket).type == fs.FileType.NotFound:
            raise DataError(f"source '{source.name}': there is no bucket '{bucket}' ({source.path})")
    pattern = _regex(asked if fixed != asked else f"{asked}/*")
    found = [
        info
        for info in listed
        if info.type == fs.FileType.File
        and info.path.endswith(FORMATS)
        and (info.path == asked or pattern.fullmatch(info.path))
        and not any(part.startswith((".", "_")) for part in info.path.removeprefix(fixed).split("/"))
    ]
    if not found:
        near = nearest(asked, [info.path for info in listed][:1000]) if listed else ""
        raise DataError(
            f"source '{source.name}': '{source.path}' has no object that ends in {', '.join(FORMATS)}."
            f"{near if 'Did you mean' in near else ''}"
        )
    folder = TemporaryDirectory(prefix="trimtab-objects-")
    return [
        ObjectFile(f"{scheme}://{info.path}", Path(folder.name) / f"{n}{Path(info.path).suffix}", info, store, folder)
        for n, info in enumerate(sorted(found, key=lambda info: str(info.path)))
    ]


def _fixed_parts(asked: str) -> int:
    """Return how many parts of a path come before the first with a pattern; all without one."""
    parts = asked.split("/")
    return next((n for n, part in enumerate(parts) if _GLOB.search(part)), len(parts))


def _listed(store: fs.FileSystem, path: str, *, deep: bool) -> list[fs.FileInfo]:
    """Return the objects at or below a path."""
    info = store.get_file_info(path)
    if info.type == fs.FileType.File:
        return [info]
    return list(store.get_file_info(fs.FileSelector(path, recursive=deep, allow_not_found=True)))


def _regex(pattern: str) -> re.Pattern[str]:
    """Return a glob as a regular expression: * and ? stay within a part of the path, ** is any number of parts."""
    found = ""
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", pattern):
        simple = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        is_set = piece.startswith("[") and len(piece) > 2
        found += simple.get(piece) or (piece.replace("[!", "[^") if is_set else re.escape(piece))
    return re.compile(found)


def _store(scheme: str, bucket: str) -> fs.FileSystem:
    if scheme == "s3":
        endpoint = settings.variable("AWS_ENDPOINT_URL_S3") or settings.variable("AWS_ENDPOINT_URL")
        region = settings.variable("AWS_REGION") or settings.variable("AWS_DEFAULT_REGION")
        more: dict[str, Any] = {}
        if endpoint:
            at = urlsplit(endpoint)
            more = {"endpoint_override": at.netloc + at.path.rstrip("/"), "scheme": at.scheme or "https"}
        return fs.S3FileSystem(region=region or ("us-east-1" if endpoint else fs.resolve_s3_region(bucket)), **more)
    if scheme == "gs":
        return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=60))
    account = settings.variable("AZURE_STORAGE_ACCOUNT") or settings.variable("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise StageError(f"az://{bucket}: the environment variable AZURE_STORAGE_ACCOUNT is not set")
    key = settings.variable("AZURE_STORAGE_KEY") or settings.variable("AZURE_STORAGE_ACCOUNT_KEY")
    token = settings.variable("AZURE_STORAGE_SAS_TOKEN")
    return fs.AzureFileSystem(account, account_key=key, sas_token=None if key else token)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Raise what the store's library says as one of our errors, in one line."""
    try:
        yield
    except OSError as error:
        said = " ".join(str(error).split())[:300]
        is_gone = re.search(r"NETWORK_CONNECTION|[Tt]imeout|timed out|[Cc]ould ?n.t connect|resolve host", said)
        raise (Unreachable if is_gone else DataError)(f"{what}: cannot be read: {said}") from None
