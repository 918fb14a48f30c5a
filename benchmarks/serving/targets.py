"""Descriptions of servers: name, start command, request, and the reading of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One HTTP POST."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def bytes(self) -> bytes:
        """Return the request as it goes over the wire."""
        head = [f"POST {self.path} HTTP/1.1", "host: localhost", "content-type: application/json"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        head += [f"content-length: {len(self.body)}", "", ""]
        return "\r\n".join(head).encode() + self.body


@dataclass(frozen=True)
class Answered:
    """A server's answer about one row."""

    probability: float
    version: int = 1
    """Version of the model that answered, where there are several."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One server, not running yet."""

    name: str
    """As it is given to --peers."""
    title: str
    command: Callable[[int], list[str]]
    """The command line that serves on a port."""
    prepare: Sequence[str] = ()
    """A command that runs once before the server starts, or nothing."""
    work: Path
    """Folder for what the server writes, its output among it."""
    folder: Path
    """Where both commands run."""
    environment: Callable[[int], Mapping[str, str]]
    """Environment variables for a port, in addition to those of this process."""
    ask: Callable[[Sequence[float]], Ask]
    """The request for one row."""
    answer: Callable[[bytes], Answered]
    packaged: bool = False
    """Whether it is a model server that one installs, not one that one writes."""
    missing: str | None = None
    """Why it cannot run here, or None."""


def v2_ask(row: Sequence[float], **columns: str) -> Ask:
    """Return a request of the Open Inference Protocol for one row of features, and texts of further columns."""
    inputs: list[dict[str, Any]] = [{"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": row}]
    inputs += [{"name": name, "shape": [1], "datatype": "BYTES", "data": [text]} for name, text in columns.items()]
    return Ask(path="/v2/models/hgb/infer", body=_encode({"inputs": inputs}))
