"""Models in Cloud Storage: read with the token of the container's account; a refusal says what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from trimtab.app.gateway import bucket_model
from trimtab.app.gateway.bucket_model import fetch_model
from trimtab.errors import StoreError


class Cloud(BaseHTTPRequestHandler):
    """Answers for storage and metadata server: objects by name, in `objects`, for the token t0."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        if self.path.startswith("/computeMetadata/"):
            body: Any = json.dumps({"access_token": "t0"}).encode()
        elif self.headers.get("Authorization") != "Bearer t0":
            return self.send_error(401)
        elif self.path.endswith("alt=media"):
            body = self.objects[self.path.rpartition("/")[2].partition("?")[0].replace("%2F", "/")]
        else:
            body = json.dumps({"items": [{"name": name} for name in self.objects]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *arguments: Any) -> None:
        """Write nothing."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Cloud) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(bucket_model, "STORAGE", f"http://127.0.0.1:{server.server_port}")
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_objects_come_with_the_token_of_the_account(tmp_path: Path, host: str) -> None:
    Cloud.objects = {"m/MANIFEST.json": b"{}", "m/code/a.py": b"a = 1\n", "m/": b""}
    fetch_model("gs://b/m/", tmp_path, emulator=None, metadata=host)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"MANIFEST.json", "code/a.py"}
    assert (tmp_path / "code" / "a.py").read_bytes() == b"a = 1\n"


def test_what_cannot_be_read_is_told(tmp_path: Path, host: str) -> None:
    Cloud.objects = {}
    with pytest.raises(StoreError, match="gs://b/m: there is no object; expected the files of a bundle"):
        fetch_model("gs://b/m", tmp_path, emulator=None, metadata=host)
    with pytest.raises(StoreError, match=r"answers 401 .*Storage Object Viewer"):
        fetch_model("gs://b/m", tmp_path, emulator=f"http://{host}", metadata=None)
    Cloud.objects = {"m/../../x": b""}
    with pytest.raises(StoreError, match="does not lie below this path"):
        fetch_model("gs://b/m", tmp_path, emulator=None, metadata=host)
    with pytest.raises(StoreError, match=r"gs://b/m: .*refused"):
        fetch_model("gs://b/m", tmp_path, emulator=None, metadata="127.0.0.1:9")
