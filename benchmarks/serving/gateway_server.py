"""Trimtab's gateway as the benchmarks start it: the one file that knows how. Called by all benchmarks of serving.

python -m benchmarks.serving.gateway_server ROOT PORT [--workers N] [--durability MODE] [--tokens]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa

from benchmarks.serving.processes import tree
from benchmarks.serving.targets import Answered, Ask, Target, v2_ask
from trimtab.serving import GatewayConfig, serve
from trimtab.serving.columns import NumericColumns
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.segments import SegmentLog

Durability = Literal["acknowledged", "interval"]
OFFERED = {field.name for field in fields(GatewayConfig)}
"""What the gateway can be told: options that are not among it are not measured, and the table says so."""

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the gateway runs."""

    workers: int = 1
    durability: Durability = "interval"
    tokens: bool = False


def gateway(name: str, title: str, root: Path, work: Path, options: Options) -> Target:
    """Return the gateway over the stores in `root`."""
    work.mkdir(parents=True, exist_ok=True)
    token = make_token(root) if options.tokens else None
    headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def command(port: int) -> list[str]:
        line = [sys.executable, "-m", "benchmarks.serving.gateway_server", str(root), str(port)]
        line += ["--workers", str(options.workers), "--durability", options.durability]
        return line + (["--tokens"] if options.tokens else [])

    def ask(row: Sequence[float]) -> Ask:
        plain = v2_ask(row)
        return Ask(path=plain.path, body=plain.body, headers=headers)

    return Target(
        name=name,
        title=title,
        command=command,
        work=work,
        folder=Path(__file__).parents[2],
        environment=lambda port: {},
        ask=ask,
        answer=answer,
        missing=_missing(options),
    )


def answer(body: bytes) -> Answered:
    """Read the probability of the only row, and the version that answered it."""
    found = _decode(body)
    return Answered(float(found["outputs"][0]["data"][0]), int(found["model_version"]))


def make_token(root: Path) -> str | None:
    """Make a token that opens the gateway over `root`; None while the gateway knows no tokens."""
    return None


def worker_pids(root: Path, parent: int) -> list[int]:
    """Return the processes that answer for a gateway: the children of its parent; none when it answers itself."""
    return [process.pid for process in tree(parent)[1:]]


def open_book(root: Path) -> Metadata:
    """Open the metadata store over `root`, where revisions are written."""
    return SqlMetadata(root / "metadata.db")


def read_log(root: Path) -> pa.Table:
    """Return every row of the prediction log over `root`, with the columns of PREDICTIONS."""
    log = SegmentLog(root / "log")
    try:
        return log.read()[0]
    finally:
        log.close()


def settings_of(options: Options) -> dict[str, Any]:
    """Return the fields of the gateway's configuration that the options stand for."""
    return {}


def _missing(options: Options) -> str | None:
    if options.workers > 1 and "workers" not in OFFERED:
        return "this gateway runs in one process"
    return None


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--durability", choices=("acknowledged", "interval"), default="interval")
    parser.add_argument("--tokens", action="store_true")
    given = parser.parse_args()
    root: Path = given.root
    options = Options(workers=given.workers, durability=given.durability, tokens=given.tokens)
    serve(
        GatewayConfig(
            metadata=SqlMetadata(root / "metadata.db"),
            artifacts=FolderArtifacts(root / "artifacts"),
            predictions=SegmentLog(root / "log"),
            vectorizer_factory=NumericColumns,
            run_folder=root / "run",
            port=given.port,
            **settings_of(options),
        )
    )


if __name__ == "__main__":
    main()
