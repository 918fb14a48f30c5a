"""What each gateway of a project says of a path of the other one."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.app.gateway.other_gateway import FOLDER, from_models, from_prompts
from trimtab.serving.endpoints import Answer, Call, Elsewhere, Route, encode_error
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.serving.web.routes import NotServed, Router


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The run folder of a project whose two gateways run."""
    for path, port in ((tmp_path, 8080), (tmp_path / FOLDER, 8632)):
        path.mkdir(exist_ok=True)
        (path / ANNOUNCEMENT).write_bytes(msgspec.json.encode(Announcement("127.0.0.1", port, os.getpid())))
    return tmp_path


async def nothing(call: Call) -> Answer:
    return Answer(200, b"")


def said(elsewhere: Elsewhere, method: str, path: str) -> tuple[int, Any]:
    """Return status and error of a path, in a gateway that has chats and GET /v1/models/{model}."""
    routes = [
        Route(made, where, "open", nothing, encode_error, "Do nothing.")  # type: ignore[arg-type]
        for made, where in (("POST", "/v1/chat/completions"), ("GET", "/v1/models/{model}"))
    ]
    with pytest.raises(NotServed) as refused:
        Router(routes, elsewhere).find({"method": method, "path": path})
    found = refused.value
    return found.status, json.loads(found.encode_error(found.status, str(found)))["error"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/responses", "/v1/completions", "/v1/chat"])
def test_models_say_where_prompts_are(folder: Path, path: str) -> None:
    status, error = said(partial(from_models, run_folder=folder), "POST", path)
    assert (status, error["type"], error["param"]) == (404, "invalid_request_error", None)
    assert "prompts are served at http://127.0.0.1:8632/v1 " in error["message"]


@pytest.mark.parametrize("path", ["/v1", "/v1/modles", "/v2/models", "/chat/completions", "/v1/kpis/chat"])
def test_models_say_nothing_of_prompts_for_other_paths(folder: Path, path: str) -> None:
    assert "8632" not in said(partial(from_models, run_folder=folder), "POST", path)[1]


def test_prompts_say_where_models_are(folder: Path) -> None:
    elsewhere = partial(from_prompts, run_folder=folder, own_folder=folder / FOLDER)
    for path in ("/v2/models/delay/infer", "/invocations", "/v1/models/delay:predict"):
        status, error = said(elsewhere, "POST", path)
        assert (status, error) == (
            404,
            f"nothing is served at {path} of the gateway of prompts; models are served at http://127.0.0.1:8080",
        )


def test_unknown_paths_of_openais_interface_have_its_shape(folder: Path) -> None:
    for own in (folder, folder / FOLDER):
        elsewhere = partial(from_prompts, run_folder=folder, own_folder=own)
        status, error = said(elsewhere, "POST", "/v1/responses")
        assert (status, error["type"]) == (404, "invalid_request_error")
        assert error["message"] == "nothing is served at /v1/responses; prompts answer POST /v1/chat/completions"
        assert said(elsewhere, "GET", "/v1/chat/completions")[0] == 405


def test_a_gateway_that_does_not_run_is_not_named(folder: Path) -> None:
    (folder / FOLDER / ANNOUNCEMENT).unlink()
    assert "8632" not in said(partial(from_models, run_folder=folder), "POST", "/v1/responses")[1]
    alone = partial(from_prompts, run_folder=folder, own_folder=folder)
    assert "8080" not in said(alone, "POST", "/invocations")[1]
