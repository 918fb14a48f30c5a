"""`trimtab serve` as the platforms run it: nothing but a verb, the environment, and a folder with a model."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import psutil

from clients.gateway import FEATURES
from kit.waiting import PATIENCE_S, wait_for
from trimtab import settings
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def container(folder: Path, health: str, port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the verb in an empty folder until the health check passes, then until the block ends."""
    command = [sys.executable, "-c", "from trimtab.cli import main; main()", "serve"]
    process = subprocess.Popen(command, cwd=folder, env=settings.child_environment(**environment))

    def healthy() -> bool:
        assert process.poll() is None, "the gateway ended"
        try:
            return httpx.get(f"http://127.0.0.1:{port}{health}").is_success
        except httpx.TransportError:
            return False

    try:
        wait_for(healthy, "the gateway is healthy")
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_a_bundle_is_served_as_vertex_asks(tmp_path: Path) -> None:
    model, port = tmp_path / "my model", free_port()
    pack_bundle(model, lookup_graph((0.125, 0.75), len(FEATURES)), plain_spec("delay", FEATURES))
    empty = tmp_path / "work"
    empty.mkdir()
    asked = {
        "AIP_MODE": "PREDICTION",
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/up",
        "AIP_PREDICT_ROUTE": "/ask",
        "AIP_STORAGE_URI": model.as_uri(),
    }
    with container(empty, "/up", port, **asked) as process:
        body: Any = {"instances": [{"row": 1, "wind": 8.5}]}
        assert httpx.post(f"http://127.0.0.1:{port}/ask", json=body).json() == {"predictions": [0.75]}
        listening = {c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"}
        assert listening == {"0.0.0.0"}
    assert process.returncode == 0


class Bucket(BaseHTTPRequestHandler):
    """Cloud Storage and the metadata server: lists one object a page, and asks for the token."""

    folder: Path

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = parse_qs(url.query)
        if url.path.endswith("/service-accounts/default/token"):
            assert self.headers["Metadata-Flavor"] == "Google"
            return self._answer(b'{"access_token": "t0", "expires_in": 3599, "token_type": "Bearer"}')
        if asked.get("alt") == ["media"]:
            name = unquote(url.path.removeprefix("/storage/v1/b/models/o/"))
            return self._answer((self.folder / name).read_bytes())
        names = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        names = [name for name in names if name.startswith(asked["prefix"][0])]
        page = int(asked.get("pageToken", ["0"])[0])
        more = {"nextPageToken": str(page + 1)} if page + 1 < len(names) else {}
        found = [{"name": name} for name in names[page : page + 1]]
        return self._answer(json.dumps({"items": found, **more}).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_bundle_in_a_bucket_is_served_as_vertex_asks(tmp_path: Path) -> None:
    bundle, port = tmp_path / "bucket" / "bundles" / "delay 1", free_port()
    pack_bundle(bundle, lookup_graph((0.125, 0.75), len(FEATURES)), plain_spec("delay", FEATURES))
    (bundle.parent / "delay 10").mkdir()
    (bundle.parent / "delay 10" / "other").write_text("a longer name with the same beginning")
    work = tmp_path / "image"
    work.mkdir()
    (work / "trimtab.yaml").write_text("project: p\n")  # the image holds a project
    Bucket.folder = tmp_path / "bucket"
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        asked = {
            "AIP_MODE": "PREDICTION",
            "AIP_HTTP_PORT": str(port),
            "AIP_HEALTH_ROUTE": "/health",
            "AIP_PREDICT_ROUTE": "/predict",
            "AIP_STORAGE_URI": "gs://models/bundles/delay 1",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.server_port}",
        }
        with container(work, "/health", port, **asked):
            body: Any = {"instances": [{"row": 1, "wind": 8.5}]}
            assert httpx.post(f"http://127.0.0.1:{port}/predict", json=body).json() == {"predictions": [0.75]}
        server.shutdown()
