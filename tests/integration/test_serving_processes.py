"""A real gateway process under load: killed, drained, rolled forth and back. Nothing acknowledged is ever lost."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from kit.waiting import PATIENCE_S, wait_for
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.embedded.frames import END
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.bundles import plain_spec, register_bundle, revision

pytestmark = pytest.mark.filterwarnings("ignore:Field onnx:DeprecationWarning")  # skl2onnx with protobuf 6
PROCESS = Path(__file__).with_name("serving_process.py")
FEATURES = ["distance", "wind", "visibility"]
NOW = datetime(2026, 3, 1, tzinfo=UTC)
CONNECTIONS = 6


@pytest.fixture(scope="module")
def graphs() -> list[bytes]:
    """Two classifiers that disagree, as they are packaged."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(800, 3)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    estimators = (HistGradientBoostingClassifier(max_iter=50), LogisticRegression())
    return [
        to_onnx(e.fit(X, y), X[:1], options={"zipmap": False}, target_opset=18).SerializeToString() for e in estimators
    ]


@pytest.fixture
def root(tmp_path: Path, graphs: list[bytes]) -> Path:
    """Stores in which version 1 of model "delay" is the champion, and version 2 is there."""
    metadata, artifacts = SqlMetadata(tmp_path / "metadata.db"), FolderArtifacts(tmp_path / "artifacts")
    for version, graph in enumerate(graphs, start=1):
        register_bundle(metadata, artifacts, graph, plain_spec("delay", FEATURES), version=version, created_at=NOW)
    metadata.put(revision("delay", 1, {1: ("champion", 100)}, created_at=NOW))
    metadata.close()
    return tmp_path


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        content = None if body is None else msgspec.json.encode(body)
        self._connection.request(method, path, content, {"content-type": "application/json"})
        reply = self._connection.getresponse()
        answer = reply.read()
        return reply.status, msgspec.json.decode(answer) if answer.strip() else None

    def predict(self, row: list[float]) -> dict[str, Any]:
        columns = [
            {"name": n, "shape": [1], "datatype": "FP64", "data": [v]} for n, v in zip(FEATURES, row, strict=True)
        ]
        status, found = self.call("POST", "/v2/models/delay/infer", {"inputs": columns})
        assert status == 200, found
        return dict(found)


class Gateway:
    """A gateway process over the stores of a folder."""

    def __init__(self, root: Path, *arguments: int, port: int = 0) -> None:
        self._root = root
        self.output = root / "gateway.log"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PROCESS), str(root), str(port), *map(str, arguments)],
                stdout=output,
                stderr=output,
            )

    @property
    def announcement(self) -> Path:
        return self._root / "run" / ANNOUNCEMENT

    def port(self) -> int:
        def announced() -> int | None:
            assert self.process.poll() is None, self.output.read_text()
            if not self.announcement.exists():
                return None
            found = msgspec.json.decode(self.announcement.read_bytes(), type=Announcement)
            return found.port if found.pid == self.process.pid else None

        return int(wait_for(announced, "the gateway announces itself"))

    def ready(self) -> int:
        """Wait until every model is loaded; return the port."""
        port = self.port()
        client = Client(port)
        wait_for(lambda: client.call("GET", "/v2/health/ready")[0] == 200, "the gateway is ready")
        return port

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start(root: Path) -> Iterator[Callable[..., Gateway]]:
    """Return a function that starts a gateway; whatever still runs afterwards is killed."""
    started: list[Gateway] = []

    def run(*arguments: int) -> Gateway:
        started.append(Gateway(root, *arguments))
        return started[-1]

    yield run
    for gateway in started:
        if gateway.process.poll() is None:
            gateway.stop(signal.SIGKILL)


class Answer(NamedTuple):
    """What a client was told."""

    id: str
    version: int
    revision: int
    score: float


class Load:
    """Clients that predict without pause and remember what was acknowledged."""

    def __init__(self, port: int, *, until_broken: bool) -> None:
        self.acknowledged: list[Answer] = []
        self.failures: list[str] = []
        self._port = port
        self._until_broken = until_broken
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(CONNECTIONS)]

    def _run(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        client = Client(self._port)
        while not self._stop.is_set():
            try:
                found = client.predict(rng.normal(size=3).tolist())
            except (OSError, http.client.HTTPException, AssertionError) as error:
                if not self._until_broken or isinstance(error, AssertionError):
                    self.failures.append(repr(error))
                return
            revision, score = found["parameters"]["revision"], found["outputs"][0]["data"][0]
            self.acknowledged.append(Answer(found["id"], int(found["model_version"]), revision, score))

    def wait_for_acknowledged(self, count: int) -> None:
        wait_for(lambda: len(self.acknowledged) > count, f"{count} acknowledged predictions")

    def wait_for_revision(self, number: int) -> None:
        """Wait for the first answer of a revision."""
        wait_for(
            lambda: any(answer.revision == number for answer in self.acknowledged[-CONNECTIONS:]),
            f"revision {number} serves",
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(PATIENCE_S)


def served_rows(root: Path) -> list[dict[str, Any]]:
    table = SegmentLog(root / "log").read()[0]
    return [row for row in table.to_pylist() if row["served"]]


def test_every_acknowledged_prediction_is_in_the_log_once_after_sigkill(
    root: Path, start: Callable[..., Gateway]
) -> None:
    acknowledged: list[Answer] = []
    for _ in range(2):  # the second process writes beside what the first one left
        gateway = start()
        load = Load(gateway.ready(), until_broken=True)
        with load.running():
            load.wait_for_acknowledged(1_000)
            gateway.stop(signal.SIGKILL)
        assert load.failures == []
        acknowledged += load.acknowledged
    logged = {row["prediction_id"]: row for row in served_rows(root)}
    counts = Counter(row["prediction_id"] for row in served_rows(root))
    assert len({answer.id for answer in acknowledged}) == len(acknowledged)
    assert all(counts[answer.id] == 1 for answer in acknowledged)
    assert all(logged[answer.id]["score"] == answer.score for answer in acknowledged)
    assert max(counts.values()) == 1
    assert len(list((root / "log").glob("predictions-*.frames"))) >= 2


def test_deploys_and_rollbacks_under_load_fail_no_request(root: Path, start: Callable[..., Gateway]) -> None:
    metadata = SqlMetadata(root / "metadata.db")
    load = Load(start().ready(), until_broken=False)
    with load.running():
        load.wait_for_revision(1)
        for number in range(2, 12):
            version = 2 if number % 2 == 0 else 1
            metadata.put(revision("delay", number, {version: ("champion", 100)}, created_at=NOW))
            load.wait_for_revision(number)
    metadata.close()
    rows = served_rows(root)
    assert load.failures == []
    assert {row["revision"] for row in rows} == set(range(1, 12))
    assert all(row["version"] == (2 if row["revision"] % 2 == 0 else 1) for row in rows)
    assert Counter(row["prediction_id"] for row in rows).most_common(1)[0][1] == 1


def test_a_drained_gateway_answers_what_it_began_and_leaves_a_whole_log(
    root: Path, start: Callable[..., Gateway]
) -> None:
    metadata = SqlMetadata(root / "metadata.db")
    metadata.put(revision("delay", 2, {1: ("champion", 50), 2: ("challenger", 50)}, created_at=NOW))
    metadata.close()
    gateway = start()
    load = Load(gateway.ready(), until_broken=True)
    with load.running():
        load.wait_for_acknowledged(500)
        code = gateway.stop(signal.SIGTERM)
    table = SegmentLog(root / "log").read()[0]
    pairs = Counter(table["prediction_id"].to_pylist())
    assert code == 0
    assert load.failures == []
    assert not gateway.announcement.exists()
    assert {answer.id for answer in load.acknowledged} <= pairs.keys()
    assert set(pairs.values()) == {2}  # champion and challenger scored every row
    segments = sorted((root / "log").glob("predictions-*.frames"))
    assert segments[-1].read_bytes().endswith(END)


class Ended:
    """What clients saw until a gateway was gone: each request is answered, or its connection is refused."""

    def __init__(self, port: int) -> None:
        self.lost: list[str] = []
        self.answered = 0
        self._port = port
        self._threads = [threading.Thread(target=self._run, args=(kept,)) for kept in (True, False) * 6]

    def _run(self, kept: bool) -> None:
        body = msgspec.json.encode({"instances": [dict.fromkeys(FEATURES, 0.5)]})
        close = b"" if kept else b"connection: close\r\n"
        head = b"POST /v1/models/delay:predict HTTP/1.1\r\nhost: localhost\r\n%bcontent-length: %d\r\n\r\n"
        request = head % (close, len(body)) + body
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
            except ConnectionRefusedError:
                return
            with connection:
                goes_on = True
                while goes_on:
                    try:
                        connection.sendall(request)
                        answer = b""
                        while b"predictions" not in answer:
                            part = connection.recv(65_536)
                            if not part:
                                raise ConnectionResetError("closed without an answer")
                            answer += part
                    except OSError as error:
                        self.lost.append(repr(error))
                        return
                    self.answered += 1
                    goes_on = kept and b"connection: close" not in answer

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)


@pytest.mark.parametrize("delay", [0, 1])
def test_a_gateway_that_ends_loses_no_request(start: Callable[..., Gateway], delay: int) -> None:
    gateway = start(2, -1, delay)
    port = gateway.ready()
    clients = Ended(port)
    clients.begin()
    wait_for(lambda: clients.answered > 500, "500 answers")
    probe = Client(port)
    before = clients.answered
    gateway.process.send_signal(signal.SIGTERM)
    if delay:
        wait_for(lambda: probe.call("GET", "/v2/health/ready")[0] == 503, "the gateway is not ready any more")
        assert probe.call("GET", "/v2/health/live")[0] == 200  # by a new connection
    assert gateway.process.wait(PATIENCE_S) == 0
    clients.wait()
    assert clients.lost == []
    assert clients.answered > before


def test_a_gateway_answers_as_the_graph_does_in_every_protocol(
    root: Path, start: Callable[..., Gateway], graphs: list[bytes]
) -> None:
    client = Client(start().ready())
    row = [0.5, -1.25, 2.0]
    expected = OnnxScorer(graphs[0], "binary").score(np.array([row], dtype=np.float32))[0]
    columns = client.predict(row)
    whole = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": row}]}
    _, tensor = client.call("POST", "/v2/models/delay/infer", whole)
    record = {"dataframe_records": [dict(zip(FEATURES, row, strict=True))]}
    _, mlflow = client.call("POST", "/invocations", record)
    assert columns["outputs"][0]["data"] == tensor["outputs"][0]["data"] == mlflow["predictions"] == [expected]
    status, accepted = client.call("POST", "/v2/models/delay/feedback", {"id": columns["id"], "label": 1})
    assert (status, accepted) == (200, {"accepted": 1})
    labels = SegmentLog(root / "log").read_labels()[0].to_pylist()
    assert [(label["prediction_id"], label["label"]) for label in labels] == [(columns["id"], 1.0)]


def test_connections_survive_bad_requests(root: Path, start: Callable[..., Gateway]) -> None:
    port = start().ready()
    client = Client(port)
    statuses = [
        client.call("POST", "/v2/models/delay/infer", {"inputs": []})[0],
        client.call("POST", "/v2/models/dealy/infer", {})[0],
        client.call("PUT", "/v2", None)[0],
        client.call("POST", "/v2/models/delay/infer", {"x": "y" * (17 * 2**20)})[0],
    ]
    assert statuses == [400, 404, 405, 413]
    assert client.predict([0, 0, 0])["model_version"] == "1"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as raw:
        raw.sendall(
            b"HEAD /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
            b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
        received = b""
        while b'{"live":true}' not in received:
            received += raw.recv(65536)
    assert received.count(b"HTTP/1.1 200 OK") == 2
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_second_gateway_is_refused_in_one_sentence(root: Path, start: Callable[..., Gateway]) -> None:
    port = start().ready()
    for other, words in ((0, "each name has one writer"), (port, "Address already in use")):
        second = subprocess.run(
            [sys.executable, str(PROCESS), str(root), str(other)], capture_output=True, text=True, check=False
        )
        assert second.returncode != 0
        assert words in second.stderr.strip().splitlines()[-1]
    assert Client(port).call("GET", "/v2/health/ready")[0] == 200


def test_the_announcement_of_a_killed_gateway_is_replaced(start: Callable[..., Gateway]) -> None:
    first = start()
    first.ready()
    first.stop(signal.SIGKILL)
    assert first.announcement.exists()
    second = start()
    assert Client(second.ready()).predict([0, 0, 0])["model_version"] == "1"
    assert os.waitid(os.P_PID, second.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    assert second.stop() == 0
    assert not second.announcement.exists()
