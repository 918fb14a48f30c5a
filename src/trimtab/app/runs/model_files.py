"""Compares two packaged models file by file, and names what differs within a file."""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl

from trimtab.places import PROJECT_MODULE
from trimtab.training.canonical import FILE, LOADER, SCHEMA, canonical_bytes, canonical_skops

DESCRIBES = ("MLmodel", "environment.txt", "requirements.txt", "python_env.yaml", "gate_report.json", "MANIFEST.json")
"""Files that name the run, its time or its environment, which are compared by themselves."""
FOLDERS = ("code", "mlflow")
SPEC, ROWS = "bundle.json", "rows.parquet"
MODULE = re.compile(rf"{PROJECT_MODULE}\w+")
RANDOM_ID = re.compile(r"\b[0-9a-f]{32}\b")
MOST_PARTS = 3
"""Parts of a file that are named."""


class FileResult(msgspec.Struct, frozen=True, kw_only=True):
    """One file of two models."""

    name: str
    verdict: Literal["same", "same canonical form", "different"]
    text: str = ""
    """What differs."""


def compare_models(recorded: Path, made: Path) -> list[FileResult]:
    """Compare the files of two packaged models that make up the model and its reference. Sorted by name."""
    names = sorted({name for folder in (recorded, made) for name in _names(folder)})
    return [_compare(name, recorded / name, made / name) for name in names]


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.is_file() and inside.parts[0] not in FOLDERS and inside.name not in DESCRIBES:
            yield inside.as_posix()


def _compare(name: str, recorded: Path, made: Path) -> FileResult:
    for path, where in ((recorded, "the recorded"), (made, "the new")):
        if not path.is_file():
            return FileResult(name=name, verdict="different", text=f"{where} model does not have it")
    old, new = recorded.read_bytes(), made.read_bytes()
    if old == new:
        return FileResult(name=name, verdict="same")
    kind = recorded.suffix if recorded.name not in (SPEC, ROWS) else recorded.name
    canonical, parts = KINDS.get(kind, (None, _bytes))
    if canonical is not None:
        if canonical(old) == canonical(new):
            return FileResult(name=name, verdict="same canonical form")
        old, new = canonical(old), canonical(new)
    found = list(parts(old, new)) or list(_bytes(old, new))
    more = f"; {len(found) - MOST_PARTS} more parts" if len(found) > MOST_PARTS else ""
    return FileResult(name=name, verdict="different", text="; ".join(found[:MOST_PARTS]) + more)


def _bytes(old: bytes, new: bytes) -> Iterator[str]:
    if len(old) != len(new):
        yield f"{len(new):,} bytes instead of {len(old):,}"
    else:
        differ = np.count_nonzero(np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8))
        yield f"{differ:,} of {len(old):,} bytes differ"


def _canonical_graph(content: bytes) -> bytes:
    return canonical_bytes(_graph(content))


def _graph(content: bytes) -> Any:
    # imported here, because it takes a second and most comparisons find the same bytes
    import onnx

    return onnx.load_from_string(content)


def _graph_parts(old: bytes, new: bytes) -> Iterator[str]:
    first, second = _graph(old).graph, _graph(new).graph
    kinds = [[node.op_type for node in graph.node] for graph in (first, second)]
    if kinds[0] != kinds[1]:
        old_nodes, new_nodes = (f"{len(each)} nodes ({_shown(each)})" for each in kinds)
        yield f"the graph has {new_nodes} instead of {old_nodes}"
        return
    # imported here, as above
    from onnx import helper, numpy_helper

    for before, after in zip(first.node, second.node, strict=True):
        values = {one.name: helper.get_attribute_value(one) for one in before.attribute}
        for one in after.attribute:
            yield from _values(f"{after.op_type}.{one.name}", values.get(one.name), helper.get_attribute_value(one))
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in first.initializer}
    for tensor in second.initializer:
        yield from _values(f"tensor {tensor.name}", arrays.get(tensor.name), numpy_helper.to_array(tensor))


def _shown(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _values(name: str, old: Any, new: Any) -> Iterator[str]:
    """Describe how two values differ: arrays by the number of values and the largest distance."""
    if old is None:
        yield f"{name} is new"
        return
    first, second = np.asarray(old), np.asarray(new)
    if first.shape != second.shape:
        yield f"{name} has the shape {second.shape} instead of {first.shape}"
    elif first.dtype.kind in "fiub" and second.dtype.kind in "fiub":
        nan = np.isnan(first.astype(np.float64)) & np.isnan(second.astype(np.float64))
        differ = (first != second) & ~nan
        if differ.any():
            gap = np.abs(first.astype(np.float64) - second.astype(np.float64))[differ].max()
            yield f"{name}: {np.count_nonzero(differ):,} of {differ.size:,} values differ, by up to {gap:.3g}"
    elif str(old) != str(new):
        yield f"{name} differs"


def _skops_parts(old: bytes, new: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(old)) as first, zipfile.ZipFile(io.BytesIO(new)) as second:
        trees = [json.loads(archive.read(SCHEMA)) for archive in (first, second)]
        found = dict.fromkeys(_nodes("", trees[0], trees[1], first, second))
    yield from found


def _nodes(path: str, old: Any, new: Any, first: zipfile.ZipFile, second: zipfile.ZipFile) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        if LOADER in old and FILE in old and FILE in new:
            yield from _arrays(path, first.read(old[FILE]), second.read(new[FILE]))
        for key in old.keys() | new.keys():
            if key in ("__id__", FILE, "protocol", "_skops_version"):
                continue
            if key not in old or key not in new:
                yield f"{path or 'the estimator'}: '{key}' is only in the {'recorded' if key in old else 'new'} model"
            else:
                step = path if key.startswith("__") or key == "content" else f"{path}.{key}".lstrip(".")
                yield from _nodes(step, old[key], new[key], first, second)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            yield from _nodes(path, before, after, first, second)
    elif old != new:
        yield f"{path}: {_short(new)} instead of {_short(old)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _arrays(path: str, old: bytes, new: bytes) -> Iterator[str]:
    if old == new:
        return
    try:
        first, second = (np.load(io.BytesIO(content), allow_pickle=False) for content in (old, new))
    except ValueError:  # no array: a sparse matrix, a text
        yield f"{path}: {next(_bytes(old, new))}"
        return
    if first.dtype.names and first.dtype == second.dtype and first.shape == second.shape:
        for name in first.dtype.names:
            yield from _values(f"{path}.{name}", first[name], second[name])
    else:
        yield from _values(path, first, second)


def _line_parts(old: bytes, new: bytes) -> Iterator[str]:
    """Name the keys of `key=value` lines that differ, as LightGBM writes them."""
    before, after = old.decode(errors="replace").splitlines(), new.decode(errors="replace").splitlines()
    if len(before) != len(after):
        yield f"{len(after):,} lines instead of {len(before):,}"
        return
    differ = [line for other, line in zip(before, after, strict=True) if other != line]
    keys = ", ".join(dict.fromkeys(line.partition("=")[0].strip(" []") for line in differ))
    yield f"{len(differ):,} of {len(after):,} lines differ ({_short(keys)})"


def _spec_parts(old: bytes, new: bytes) -> Iterator[str]:
    first, second = json.loads(_without_run(old)), json.loads(_without_run(new))
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key):
            yield f"{key}: {_short(second.get(key))} instead of {_short(first.get(key))}"


def _canonical_pickle(content: bytes) -> bytes:
    """Return the operations of a pickle, a line each, without what depends on the folder or the process.

    That is the name of the module that holds a project's definitions, the folder of its files, and the random ids by
    which cloudpickle knows classes. Nothing is unpickled.
    """
    lines = []
    for operation, value, _ in pickletools.genops(content):
        if operation.name == "FRAME":
            continue
        if isinstance(value, str):
            text = RANDOM_ID.sub("id", MODULE.sub(PROJECT_MODULE, value))
            lines.append(f"text {PurePath(text).name if text.endswith('.py') else text!r}")
        else:
            lines.append(f"{operation.name} {value!r}")
    return "\n".join(lines).encode()


def _operations(old: bytes, new: bytes) -> Iterator[str]:
    before, after = old.splitlines(), new.splitlines()
    if len(before) != len(after):
        yield f"{len(after):,} operations of the pickle instead of {len(before):,}"
    else:
        differ = sum(a != b for a, b in zip(before, after, strict=True))
        yield f"{differ:,} of {len(after):,} operations of the pickle differ"


def _without_run(content: bytes) -> bytes:
    found = msgspec.json.decode(MODULE.sub(PROJECT_MODULE, content.decode()))
    found.pop("run", None)
    return msgspec.json.encode(found, order="sorted")


def _table(content: bytes) -> bytes:
    written = io.BytesIO()
    pl.read_parquet(content).write_ipc(written, compression="uncompressed")
    return written.getvalue()


def _table_parts(old: bytes, new: bytes) -> Iterator[str]:
    yield "the rows or their scores differ"


Canonical = Callable[[bytes], bytes]
Parts = Callable[[bytes, bytes], Iterator[str]]
KINDS: Mapping[str, tuple[Canonical | None, Parts]] = {
    ".onnx": (_canonical_graph, _graph_parts),
    ".skops": (canonical_skops, _skops_parts),
    ".pkl": (_canonical_pickle, _operations),
    ".lgb": (None, _line_parts),
    ".txt": (None, _line_parts),
    ".json": (None, _line_parts),
    SPEC: (_without_run, _spec_parts),
    ROWS: (_table, _table_parts),
}
"""By the end of a file's name, or the name itself: its canonical form, and the names of what differs."""
