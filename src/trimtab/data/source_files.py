"""Finds the files of a source: local ones, or objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from trimtab.data.local_file import SourceFile
from trimtab.data.object_files import find_objects
from trimtab.definitions.sources import FORMATS, FileSource
from trimtab.errors import DataError, nearest

_GLOB = set("*?[")


def find_files(source: FileSource, folder: Path) -> Sequence[SourceFile]:
    """Return the files of a source in order of name.

    If its path is a folder, these are the data files directly in it, without hidden ones and those that begin with
    '_'. In a glob, ** stands for folders of any depth.

    Args:
        source: the source.
        folder: the project folder, to which a relative path refers.

    Raises:
        DataError: there is no file; names the path and the nearest existing one.
    """
    if source.is_remote:
        return find_objects(source)
    path = folder / Path(source.path).expanduser()
    if _GLOB & set(source.path):
        fixed = next(parent for parent in path.parents if not _GLOB & set(str(parent)))
        found = (file for file in fixed.glob(str(path.relative_to(fixed))) if not _is_hidden(file.relative_to(fixed)))
    elif path.is_dir():
        found = path.iterdir()
    elif path.is_file():
        return (SourceFile(_name(path, folder), path),)
    else:
        raise DataError(f"source '{source.name}': there is no '{path}'.{nearest_existing(path)}")
    files = [SourceFile(_name(file, folder), file) for file in sorted(found) if _is_data(file)]
    if not files:
        raise DataError(
            f"source '{source.name}': '{path}' has no file that ends in {', '.join(FORMATS)}."
            f"{nearest_existing(path) if not path.is_dir() else ''}"
        )
    return files


def has_files(source: FileSource, folder: Path) -> bool:
    """Return True if a source has at least one file."""
    try:
        return bool(find_files(source, folder))
    except DataError:
        return False


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


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
