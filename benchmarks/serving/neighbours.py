"""`python -m benchmarks.serving.neighbours`: the latency of a quiet client while a hostile one sends requests.

    --kinds parquet,csv-rows,...   all when left out
    --seconds N                    of each kind
    --source FOLDER                another version of Trimtab's src, for a comparison

A quiet client sends one row every 10 ms and waits for the answer. At the same time a hostile client repeats one large
or crafted request on several connections. The first measurement is the baseline, without a hostile client. Exit code
1 when the quiet client was refused, or its p99 was more than 50 ms above the baseline.
"""

from __future__ import annotations

import argparse
import gzip
import io
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import psutil
import pyarrow as pa
from pyarrow import parquet

from benchmarks.serving.gateway_server import Options, gateway
from benchmarks.serving.model import FEATURES, MODEL, fit, make_project, sample
from benchmarks.serving.processes import tree
from benchmarks.serving.servers import LOCALHOST, Server, running
from benchmarks.serving.targets import Target

LIMIT_MS = 50.0
PAUSE_S = 0.01
CONNECTIONS = 3
INFER = f"/v2/models/{MODEL}/infer"
NAMES = [f"f{n}" for n in range(FEATURES)]
MORE = """\
gates:
  performance: null
"""

_encode = msgspec.json.Encoder().encode


class Sent(NamedTuple):
    """The request that a hostile client repeats. leaves: whether it disconnects without waiting for the answer."""

    data: bytes
    leaves: bool = False
    requests: int = 1
    """In `data`, one behind the other."""


@dataclass
class Waits:
    """The latencies and refusals of one quiet client."""

    ms: list[float] = field(default_factory=list)
    refused: int = 0

    def quantile(self, share: float) -> float:
        """Return a quantile of the waits in milliseconds."""
        ordered = sorted(self.ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> int:
    """Measure each kind and print its row; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.neighbours")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--source", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        project, work = Path(folder) / "project", Path(folder) / "work"
        make_project(project, {1: fit(1)}, {1: ("champion", 100.0)})
        target = gateway("neighbours", "neighbours", project, work, Options(tokens=False), more=MORE)
        if options.source is not None:
            target = _of_source(target, options.source.resolve())
        return _measure(target, options.kinds, options.seconds)


def _measure(target: Target, kinds: Sequence[str], seconds: float) -> int:
    print("| hostile client | p50 ms | p99 ms | worst ms | refused | requests of the other | MB more |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    held, alone = True, 0.0
    for kind in ("none", *kinds):
        made = None if kind == "none" else KINDS[kind]()
        with running(target, sample(1)[0].tolist()) as server:
            waits, requests, grown = _measure_kind(server, made, seconds)
        worst, p99 = max(waits.ms), waits.quantile(0.99)
        alone = p99 if kind == "none" else alone
        held &= not waits.refused and p99 < alone + LIMIT_MS
        print(
            f"| {kind} | {waits.quantile(0.5):.1f} | {p99:.1f} | {worst:.1f} | {waits.refused} | {requests} "
            f"| {grown / 2**20:.0f} |",
            flush=True,
        )
    print(f"\np99 within {LIMIT_MS:g} ms of alone and nothing refused: {'held' if held else 'MISSED'}")
    return 0 if held else 1


def _measure_kind(server: Server, sent: Sent | None, seconds: float) -> tuple[Waits, int, int]:
    """Return the quiet client's latencies, the number of hostile requests, and the growth of the workers' memory."""
    waits, done, ended = Waits(), [0] * CONNECTIONS, threading.Event()
    row = _request(INFER, _encode({"inputs": [_tensor(sample(1))]}))
    others = [
        threading.Thread(target=_hostile, args=(server.port, sent, done, place, ended))
        for place in range(CONNECTIONS if sent is not None else 0)
    ]
    _quiet(server.port, row, Waits(), time.perf_counter() + 1.0)  # warm
    before = _memory(server.process.pid)
    for other in others:
        other.start()
    _quiet(server.port, row, waits, time.perf_counter() + seconds)
    grown = _memory(server.process.pid) - before
    ended.set()
    for other in others:
        other.join()
    return waits, sum(done), grown


def _quiet(port: int, row: bytes, waits: Waits, until: float) -> None:
    with socket.create_connection((LOCALHOST, port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (began := time.perf_counter()) < until:
            client.sendall(row)
            status = _answer(client)
            waits.ms.append(1e3 * (time.perf_counter() - began))
            waits.refused += status != 200
            time.sleep(PAUSE_S)  # the pause is what the client does


def _hostile(port: int, sent: Sent, done: list[int], place: int, ended: threading.Event) -> None:
    client: socket.socket | None = None
    while not ended.is_set():
        try:
            if client is None:
                client = socket.create_connection((LOCALHOST, port), timeout=60)
            client.sendall(sent.data)
            if sent.requests > 1:
                _answers(client, sent.requests)
            elif sent.leaves:
                ended.wait(0.3)
                client.close()
                client = None
            else:
                _answer(client)
            done[place] += 1
        except OSError:
            client = None
    if client is not None:
        client.close()


def _answer(client: socket.socket) -> int:
    """Read one answer; return its status. Raises ConnectionError when the server closes."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65_536)
        if not part:
            raise ConnectionError
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(body)
    while left > 0:
        part = client.recv(min(left, 2**20))
        if not part:
            raise ConnectionError
        left -= len(part)
    if b"connection: close" in head.lower():
        client.close()
    return int(head[9:12])


def _answers(client: socket.socket, count: int) -> None:
    """Read so many short answers. Raises ConnectionError when the server closes."""
    seen, rest = 0, b""
    while seen < count:
        part = client.recv(65_536)
        if not part:
            raise ConnectionError
        rest = rest[-8:] + part
        seen += rest.count(b"HTTP/1.1 ") - rest[:8].count(b"HTTP/1.1 ")


def _memory(pid: int) -> int:
    return sum(process.memory_info().rss for process in tree(pid) if psutil.pid_exists(process.pid))


def _request(path: str, body: bytes, content_type: str = "application/json", **headers: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", f"host: {LOCALHOST}", f"content-type: {content_type}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


def _tensor(rows: np.ndarray) -> dict[str, object]:
    return {"name": "X", "shape": list(rows.shape), "datatype": "FP32", "data": rows.astype(float).round(4).tolist()}


def _parquet_bomb() -> Sent:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["x" * 1_000_000]))
    return _parquet(pa.table({"f0": column}))


def _parquet_wide() -> Sent:
    return _parquet(pa.table({name: np.zeros(33_000) for name in NAMES}))


def _parquet(table: pa.Table) -> Sent:
    content = io.BytesIO()
    parquet.write_table(table, content, compression="zstd")
    return Sent(_request("/invocations", content.getvalue(), "application/vnd.apache.parquet"))


def _csv(rows: int, columns: Sequence[str]) -> bytes:
    line = ",".join("0.25" for _ in columns) + "\n"
    return (",".join(columns) + "\n" + line * rows).encode()


def _json_batch() -> bytes:
    return _encode({"inputs": [_tensor(sample(55_000))]})


def _records() -> bytes:
    rows = sample(24_000).astype(float).round(3)
    return _encode({"dataframe_records": [dict(zip(NAMES, row.tolist(), strict=True)) for row in rows]})


def _labels() -> bytes:
    return _encode({"labels": [{"id": f"unknown-{n}", "label": n % 2} for n in range(10_000)]})


KINDS: Mapping[str, Callable[[], Sent]] = {
    "parquet-bomb": _parquet_bomb,
    "parquet-batch": _parquet_wide,
    "csv-columns": lambda: Sent(_request("/invocations", _csv(1, [f"c{n}" for n in range(1_000_000)]), "text/csv")),
    "csv-same-columns": lambda: Sent(_request("/invocations", _csv(1, ["c"] * 1_000_000), "text/csv")),
    "csv-rows": lambda: Sent(_request("/invocations", b"a,b\n" + b"0.25,100000.5\n" * 660_000, "text/csv")),
    "csv-batch": lambda: Sent(_request("/invocations", _csv(90_000, NAMES), "text/csv")),
    "json-batch": lambda: Sent(_request(INFER, _json_batch())),
    "json-records": lambda: Sent(_request("/invocations", _records())),
    "json-malformed": lambda: Sent(_request(INFER, _json_batch()[:-1])),
    "batch-then-leaves": lambda: Sent(_request(INFER, _json_batch()), leaves=True),
    "gzip-bomb": lambda: Sent(_request(INFER, gzip.compress(bytes(2**30)), content_encoding="gzip")),
    "gzip-batch": lambda: Sent(_request(INFER, gzip.compress(_json_batch(), 1), content_encoding="gzip")),
    "middling-batches": lambda: Sent(_request(INFER, _encode({"inputs": [_tensor(sample(1000))]}))),
    "pipelined": lambda: Sent(_request(INFER, _encode({"inputs": [_tensor(sample(1))]})) * 500, requests=500),
    "labels": lambda: Sent(_request(f"/v2/models/{MODEL}/feedback", _labels())),
}


def _of_source(target: Target, source: Path) -> Target:
    before = target.environment
    return replace(target, environment=lambda port: {**before(port), "PYTHONPATH": str(source)})


if __name__ == "__main__":
    sys.exit(main())
