"""Files for browsers, problems, and answers that are kept while no record is written."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fastapi import FastAPI, Response

from kit.consoles import browser
from trimtab.app.project.locks import only_loop
from trimtab.app.project.workspace import Workspace
from trimtab.console.access import Visitor
from trimtab.console.application import create_app
from trimtab.errors import ActionError, Conflict, DataError, NotFound, Outdated, StoreError, TrimtabError
from trimtab.records.serving import TokenRevocation


def test_files_are_named_by_their_content_and_kept_for_ever(workspace: Workspace) -> None:
    client = browser(workspace)
    page = client.get("/sign-in").text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    answer = client.get(address)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/css")
    assert client.get("/assets/none.css").status_code == 404


def test_a_page_that_does_not_exist_is_told_in_the_form_that_is_asked_for(workspace: Workspace) -> None:
    client = browser(workspace)
    as_page = client.get("/no/such", headers={"accept": "text/html"})
    assert (as_page.status_code, as_page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    as_data = client.get("/api/v1/no/such", headers={"accept": "text/html"})
    assert as_data.headers["content-type"] == "application/problem+json"
    assert as_data.json() | {"request_id": ""} == {
        "type": "about:blank",
        "title": "not found",
        "status": 404,
        "detail": "there is no page or route /api/v1/no/such",
        "instance": "/api/v1/no/such",
        "request_id": "",
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("no model"), 404),
        (Outdated("revision 8 came meanwhile"), 412),
        (Conflict("answered by ben"), 409),
        (ActionError("no challenger"), 409),
        (DataError("no such column"), 422),
        (StoreError("the database is down"), 503),
    ],
)
def test_an_error_becomes_the_status_that_says_what_went_wrong(
    workspace: Workspace, error: TrimtabError, status: int
) -> None:
    app = create_app(workspace)

    @app.get("/api/v1/fails")
    def fails() -> None:
        raise error

    answer = browser(workspace, app).get("/api/v1/fails")
    assert (answer.status_code, answer.json()["detail"]) == (status, str(error))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/decisions?limit=-1", "limit: /decisions takes no such value. Valid: action, after,"),
        ("/experiments?sorts=cost", "Did you mean 'sort'?"),
        ("/api/v1/session?x=1", "x: /api/v1/session takes no such value. No value is taken here."),
    ],
)
def test_a_value_of_a_query_that_no_page_takes_is_refused(workspace: Workspace, address: str, said: str) -> None:
    answer = browser(workspace).get(address, headers={"accept": "application/json"})
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text


def test_a_page_is_live_only_while_a_loop_or_a_gateway_runs(workspace: Workspace) -> None:
    assert not create_app(workspace).state.frame(workspace).live
    with only_loop(workspace, "a test"):
        assert create_app(workspace).state.frame(workspace).live


def test_an_unexpected_failure_shows_no_traceback(workspace: Workspace) -> None:
    app = create_app(workspace)

    @app.get("/fails")
    def fails() -> None:
        raise ZeroDivisionError("division by zero")

    answer = browser(workspace, app).get("/fails", headers={"accept": "text/html"})
    assert answer.status_code == 500
    assert "ZeroDivisionError: division by zero" in answer.text
    assert "Traceback" not in answer.text


def counting(workspace: Workspace) -> FastAPI:
    """Return an application with a page that says how often it was made, for whom."""
    app, made = create_app(workspace), []

    @app.get("/count")
    def count(visit: Visitor, name: str = "") -> Response:
        made.append(name)
        return Response(f"{len(made)} for {visit.actor.name}", media_type="text/plain")

    return app


def test_a_page_is_made_once_while_no_record_is_written(workspace: Workspace) -> None:
    client = browser(workspace, counting(workspace))
    first = client.get("/count")
    assert client.get("/count").text == first.text
    assert client.get("/count", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert client.get("/count?name=other").text != first.text
    workspace.metadata.put(
        TokenRevocation(id="t/revocation", created_at=workspace.now(), token="t", reason="lost", by="ann")
    )
    assert client.get("/count").text != first.text


def test_a_kept_page_is_never_shown_to_another_reader(guarded: Workspace, secret_of) -> None:  # type: ignore[no-untyped-def]
    client = browser(guarded, counting(guarded))
    ann, ben = secret_of("ann"), secret_of("ben")
    assert client.get("/count", headers={"authorization": f"Bearer {ann}"}).text.endswith("ann")
    assert client.get("/count", headers={"authorization": f"Bearer {ben}"}).text.endswith("ben")
    assert client.get("/count").status_code == 401


@pytest.mark.parametrize(
    "path",
    [f"/models/risk/decisions/{10**20}", f"/api/v1/models/risk/revisions/{10**20}", "/api/v1/cost/runs?limit=-1"],
)
def test_numbers_and_times_that_are_out_of_range_are_told(workspace: Workspace, path: str) -> None:
    assert browser(workspace).get(path).status_code == 422


def test_the_console_loads_no_library_of_data_or_models() -> None:
    code = (
        "import sys, trimtab.console.application; print([name for name in ('polars', 'pandas', 'sklearn', 'pyarrow', "
        "'onnxruntime', 'mlflow', 'deltalake') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
