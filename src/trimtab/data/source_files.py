"""Finds the files of a source, and names and hashes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath

from trimtab.definitions.arguments import bare_path
from trimtab.definitions.sources import FORMATS, FileSource
from trimtab.errors import DataError, nearest

_GLOB = set("*?[")


def find_files(source: FileSource, folder: Path) -> tuple[Path, ...]:
    """Return the files of a source in order of name.

    If its path is a folder, these are the data files directly in it, without hidden ones and those that begin with
    '_'. In a glob, ** stands for folders of any depth.

    Args:
        source: the source.
        folder: the project folder, to which a relative path refers.

    Raises:
        DataError: there is no file; names the path and the nearest existing one.
    """
    path = folder / Path(source.path).expanduser()
    if _GLOB & set(source.path):
        fixed = next(parent for parent in path.parents if not _GLOB & set(str(parent)))
        found = (file for file in fixed.glob(str(path.relative_to(fixed))) if not _is_hidden(file.relative_to(fixed)))
    elif path.is_dir():
        found = path.iterdir()
    elif path.is_file():
        return (path,)
    else:
        raise DataError(f"source '{source.name}': there is no '{path}'.{nearest_existing(path)}")
    files = tuple(sorted(file for file in found if _is_data(file)))
    if not files:
        raise DataError(
            f"source '{source.name}': '{path}' has no file that ends in {', '.join(FORMATS)}."
            f"{nearest_existing(path) if not path.is_dir() else ''}"
        )
    expect_one_format(source, [file_name(file, folder) for file in files])
    return files


def expect_one_format(source: FileSource, names: Sequence[str]) -> None:
    """Raise DataError when the files of a source have several formats. names: of the files."""
    by_suffix: dict[str, str] = {}
    for name in names:
        suffix = PurePosixPath(name).suffix
        by_suffix.setdefault(".jsonl" if suffix == ".ndjson" else suffix, name)
    if len(by_suffix) > 1:
        (suffix, one), (_, other), *_ = by_suffix.items()
        raise DataError(
            f"source '{source.name}': '{source.path}' has files of several formats, such as {one} and {other}; "
            f"expected one format. Name the files of a source by a glob, such as '{bare_path(source.path)}/*{suffix}'"
        )


def has_files(source: FileSource, folder: Path) -> bool:
    """Return True if a source has at least one file."""
    try:
        return bool(find_files(source, folder))
    except DataError:
        return False


def file_name(path: Path, folder: Path) -> str:
    """Return the name under which a file is recorded: its path below the project folder, else its full path."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raise DataError if a file is written to while the block hashes and reads it."""
    before = path.stat()
    yield
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DataError(f"{path}: the file changed while it was read; run this again when it is complete")


def _is_data(path: Path) -> bool:
    return path.suffix in FORMATS and not _is_hidden(PurePath(path.name)) and path.is_file()


def _is_hidden(path: PurePath) -> bool:
    """Return True if a part of a path begins with '.' or '_'."""
    return any(part.startswith((".", "_")) for part in path.parts)


def nearest_existing(path: Path) -> str:
    """Return a hint: the sibling with the nearest name, or the last folder above that exists."""
    above = next(parent for parent in path.parents if parent.is_dir())
    missing = path.relative_to(above).parts[0]
    hint = nearest(missing, (child.name for child in above.iterdir() if not child.name.startswith(".")))
    return f" The nearest folder that exists is '{above}'.{hint}"
