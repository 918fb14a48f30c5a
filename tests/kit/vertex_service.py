"""A server with the part of Vertex AI's API that deploy.py uses, and a gcloud that signs in and copies files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

GCLOUD = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/gcloud.log"
[ "$1" != auth ] || echo t0
"""


class Vertex(BaseHTTPRequestHandler):
    """Holds models and endpoints; refuses what the service refuses. requests: what was asked, in order."""

    models: ClassVar[dict[str, list[str]]] = {}
    endpoints: ClassVar[dict[str, dict[str, Any]]] = {}
    requests: ClassVar[list[tuple[str, str, Any]]] = []

    def do_GET(self) -> None:
        """Answer a request."""
        self._answer("GET")

    do_POST = do_PATCH = lambda self: self._answer(self.command)

    def _answer(self, method: str) -> None:
        assert self.headers["Authorization"] == "Bearer t0"
        url = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        path = url.path.removeprefix("/v1/")
        if method != "GET":
            self.requests.append((method, path, body))
        code, answer = self._act(method, path, parse_qs(url.query), body)
        sent = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def _act(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        parent, _, what = path.partition("/locations/")
        region, _, what = what.partition("/")
        parent = f"{parent}/locations/{region}"
        if what == "endpoints" and method == "GET":
            name = query["filter"][0].partition("=")[2].strip('"')
            return 200, {"endpoints": [each for each in self.endpoints.values() if each["displayName"] == name]}
        if what == "endpoints":
            name = f"{parent}/endpoints/{len(self.endpoints) + 1}"
            self.endpoints[name] = {"name": name, **body}
            return 200, _operation({"name": name})
        if what == "models:upload":
            model = body.get("parentModel") or f"{parent}/models/{body['modelId']}"
            self.models.setdefault(model, []).extend(body["model"]["versionAliases"])
            return 200, _operation({"model": model})
        if what == "pipelineJobs":
            return 200, {"name": f"{parent}/pipelineJobs/1"}
        if what.startswith("models/"):
            model, _, alias = unquote(path).partition("@")
            known = model in self.models and (not alias or alias in self.models[model])
            return (200, {"name": path}) if known else (404, {"error": {"code": 404}})
        endpoint = self.endpoints[path.partition(":")[0]]
        if method == "GET":
            return 200, endpoint
        models = endpoint.setdefault("deployedModels", [])
        if method == "PATCH":
            return (
                (200, _shared(endpoint, body["trafficSplit"]))
                if query == {"updateMask": ["trafficSplit"]}
                else (400, {})
            )
        if path.endswith(":undeployModel"):
            if endpoint["trafficSplit"].get(body["deployedModelId"]):
                return 400, {"error": {"message": "the model has traffic"}}
            endpoint["deployedModels"] = [each for each in models if each["id"] != body["deployedModelId"]]
            return 200, _operation({})
        id_ = str(1000 + len(self.requests))
        models.append({**body["deployedModel"], "id": id_})
        _shared(endpoint, {id_ if key == "0" else key: share for key, share in body["trafficSplit"].items()})
        return 200, _operation({"deployedModel": models[-1]})

    def log_message(self, *arguments: Any) -> None:
        """Write nothing."""


def _operation(response: Any) -> dict[str, Any]:
    return {"name": "operations/1", "done": True, "response": response}


def _shared(endpoint: dict[str, Any], split: dict[str, int]) -> dict[str, Any]:
    ids = {each["id"] for each in endpoint["deployedModels"]}
    assert sum(split.values()) == 100, split
    assert set(split) <= ids, (split, ids)
    endpoint["trafficSplit"] = split
    return endpoint


@contextmanager
def vertex(programs: Path) -> Iterator[tuple[type[Vertex], str]]:
    """Yield an empty service and its URL; put gcloud into a folder of programs."""
    Vertex.models, Vertex.endpoints, Vertex.requests = {}, {}, []
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "gcloud").write_text(GCLOUD, encoding="utf-8")
    (programs / "gcloud").chmod(0o755)
    with ThreadingHTTPServer(("127.0.0.1", 0), Vertex) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Vertex, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
