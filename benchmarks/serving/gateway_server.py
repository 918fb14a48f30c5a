"""Starts Trimtab's gateway for the benchmarks: `trimtab serve` in a project.

The project has bundles of the model and revisions of those in service. This module writes its policy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa

from benchmarks.serving.model import STORES
from benchmarks.serving.processes import is_alive, tree
from benchmarks.serving.targets import Answered, Ask, Target, v2_ask
from trimtab.app.gateway import tokens
from trimtab.clock import SystemClock
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.stores.catalog import open_metadata, open_predictions
from trimtab.stores.metadata.contract import Metadata

Durability = Literal["acknowledged", "interval"]
POLICY = """\
project: benchmark
serving:
  workers: {workers}
  authentication: {authentication}
  log:
    durability: {durability}
"""

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the gateway runs."""

    workers: int = 1
    durability: Durability = "interval"
    tokens: bool = True


def gateway(name: str, title: str, project: Path, work: Path, options: Options, *, more: str = "") -> Target:
    """Return the gateway of a project; its policy is overwritten. more: sections in addition to serving."""
    work.mkdir(parents=True, exist_ok=True)
    authentication = "tokens" if options.tokens else "none"
    policy = POLICY.format(workers=options.workers, authentication=authentication, durability=options.durability)
    (project / "trimtab.yaml").write_text(policy + more)
    headers = {"authorization": f"Bearer {_token(project)}"} if options.tokens else {}

    def ask(row: Sequence[float]) -> Ask:
        plain = v2_ask(row)
        return Ask(path=plain.path, body=plain.body, headers=headers)

    return Target(
        name=name,
        title=title,
        command=lambda port: [
            *(sys.executable, "-m", "trimtab.cli", "serve"),
            *("--project", str(project), "--port", str(port)),
        ],
        work=work,
        folder=project,
        environment=lambda port: {},
        ask=ask,
        answer=answer,
    )


def answer(body: bytes) -> Answered:
    """Read the probability of the only row, and the version that answered it."""
    found = _decode(body)
    return Answered(float(found["outputs"][0]["data"][0]), int(found["model_version"]))


def worker_pids(project: Path, parent: int) -> set[int]:
    """Return the processes that answer for a gateway: those that it announces, of the children of its parent."""
    try:
        found = msgspec.json.decode((project / STORES / "run" / ANNOUNCEMENT).read_bytes(), type=Announcement)
    except FileNotFoundError:
        return set()
    return {process.pid for process in tree(parent)[1:] if process.pid in found.workers and is_alive(process)}


def open_book(project: Path) -> Metadata:
    """Open a project's metadata store, where revisions are written."""
    return open_metadata(None, project / STORES)


def read_log(project: Path) -> pa.Table:
    """Return every row of a project's prediction log, with all its columns."""
    log = open_predictions(None, project / STORES)
    try:
        return log.read()[0]
    finally:
        log.close()


def _token(project: Path) -> str:
    book = open_book(project)
    try:
        return tokens.create(book, SystemClock(), "benchmark", verbs=("infer", "read"), by="benchmarks")[1]
    finally:
        book.close()
