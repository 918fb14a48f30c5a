"""What a token that is limited to one model opens: each route, however the request names a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.endpoints import Access, Grants, Route
from trimtab.serving.orders import Grant
from trimtab.serving.protocols.platforms.containers import ContainerContract, Platform
from trimtab.serving.protocols.standard import contract_routes, standard_routes
from trimtab.serving.web.asgi import Application

if TYPE_CHECKING:
    from unit.serving.conftest import Reply, Served, TableOf

SECRET = "tt_" + "1" * 64
SCORES = {"delay": 0.1, "price": 0.6}
OWN, OTHER = {"x_trimtab_model": "delay"}, {"x_trimtab_model": "price"}
TARGET = {"x_amzn_sagemaker_target_model": "price.tar.gz"}
TENSOR = {"inputs": [{"name": "row", "shape": [1], "datatype": "FP64", "data": [0]}]}
TABLE = {"instances": [{"row": 0}]}
LABEL = {"id": "abc", "label": 1}


class Asked(NamedTuple):
    """A gateway whose only token opens infer, feedback and read of "delay"."""

    served: Served

    def __call__(self, platform: Platform | None, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        gateway = self.served.gateway
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        grant = Grant(digest, "batch", ("delay",), ("infer", "feedback", "read", "admin"), None)
        access = Access(Grants.of([grant]), self.served.clock)
        self.served.browser._application = Application(gateway, routes_of(platform, gateway), access=access)
        return self.served.browser.send(
            method, path, body, authorization=f"Bearer {SECRET}", content_type="application/json", **headers
        )


def routes_of(platform: Platform | None, gateway: Gateway) -> list[Route]:
    standard = standard_routes(gateway)
    if platform is None:
        return standard
    contract = ContainerContract(
        platform=platform, port=1, model=None, health="/health", predict="/predict", reason="a test"
    )
    return contract_routes(contract, gateway, standard)


@pytest.fixture
def pair(served: Served, pack: Callable[..., LoadedBundle], table_of: TableOf) -> Asked:
    """Two models, the token opens one."""
    tables = [table_of(("champion", pack(1, model=model, scores=[score]), 100)) for model, score in SCORES.items()]
    return Asked(served.serve(*tables))


@pytest.fixture
def alone(served: Served, pack: Callable[..., LoadedBundle], table_of: TableOf) -> Asked:
    """One model, which the token opens."""
    return Asked(served.serve(table_of(("champion", pack(1, scores=[0.1]), 100))))


ABOUT_ALL = [
    ("GET", "/metrics"),
    ("HEAD", "/metrics"),
    ("GET", "/v2/models"),
    ("GET", "/v1/models"),
    ("POST", "/v2/repository/index"),
]


@pytest.mark.parametrize(("method", "path"), ABOUT_ALL)
@pytest.mark.parametrize("headers", [{}, OWN, OTHER, TARGET])
def test_what_tells_of_all_models_stays_shut(pair: Asked, method: str, path: str, headers: dict[str, str]) -> None:
    assert pair(None, method, path, {}, headers).status == 403


@pytest.mark.parametrize(("method", "path"), ABOUT_ALL)
@pytest.mark.parametrize("headers", [{}, OWN])
def test_it_stays_shut_when_one_model_is_loaded(alone: Asked, method: str, path: str, headers: dict[str, str]) -> None:
    assert alone(None, method, path, {}, headers).status == 403


PATHS: list[tuple[str, str, Any]] = [
    ("POST", "/v2/models/{}/infer", TENSOR),
    ("POST", "/v2/models/{}/versions/1/infer", TENSOR),
    ("POST", "/v1/models/{}:predict", TABLE),
    ("POST", "/v2/models/{}/feedback", LABEL),
    ("GET", "/v2/models/{}", b""),
    ("GET", "/v2/models/{}/ready", b""),
    ("GET", "/v2/models/{}/versions/1", b""),
    ("GET", "/v1/models/{}", b""),
]


@pytest.mark.parametrize(("method", "path", "body"), PATHS)
@pytest.mark.parametrize("headers", [{}, OWN, OTHER, TARGET])
def test_a_path_says_which_model_whatever_a_header_says(
    pair: Asked, method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    own, other = (pair(None, method, path.format(model), body, headers) for model in SCORES)
    assert (own.status, other.status) == (200, 403)
    assert str(SCORES["price"]) not in own.body.decode()


def test_paths_of_admin_and_explanations_are_held_to_the_model(pair: Asked) -> None:
    for path in ("/v2/repository/models/price/load", "/v2/repository/models/price/unload"):
        assert pair(None, "POST", path, {}, OWN).status == 403
    pair.served.browser.post("/v2/models/price/infer", TENSOR | {"id": "abc"})
    explained = "/v2/models/{}/predictions/abc/explanation"
    assert pair(None, "GET", explained.format("price"), b"", OWN).status == 403
    assert pair(None, "GET", explained.format("delay"), b"", {}).status == 404  # another model's prediction


BY_HEADER: list[tuple[Platform | None, str, Any]] = [
    (None, "/invocations", TABLE),
    (None, "/v2/feedback", LABEL),
    ("vertex", "/predict", TABLE),
    ("sagemaker", "/invocations", TABLE),
]


@pytest.mark.parametrize(("platform", "path", "body"), BY_HEADER)
def test_without_a_model_in_the_path_the_one_that_is_checked_answers(
    pair: Asked, platform: Platform | None, path: str, body: Any
) -> None:
    statuses = [pair(platform, "POST", path, body, headers).status for headers in ({}, OWN, OTHER)]
    assert statuses == [403, 200, 403]
    assert {row["model"] for row in pair.served.rows()} <= {"delay"}


@pytest.mark.parametrize(("platform", "path", "body"), BY_HEADER)
def test_the_only_model_need_not_be_named(alone: Asked, platform: Platform | None, path: str, body: Any) -> None:
    assert alone(platform, "POST", path, body, {}).status == 200
    # a model that could not be loaded counts: which one is meant is not clear then, and its name is not told
    alone.served.gateway.swap(RoutingTable(alone.served.gateway.table.models, {"secret": "damaged"}))
    reply = alone(platform, "POST", path, body, {})
    assert (reply.status, b"secret" in reply.body) == (403, False)


@pytest.mark.parametrize("headers", [TARGET, TARGET | OWN])
def test_the_platform_s_own_header_is_what_is_checked(pair: Asked, headers: dict[str, str]) -> None:
    assert pair("sagemaker", "POST", "/invocations", TABLE, headers).status == 403
    own = {"x_amzn_sagemaker_target_model": "delay.tar.gz"} | OTHER
    reply = pair("sagemaker", "POST", "/invocations", TABLE, own)
    assert (reply.status, msgspec.json.decode(reply.body)) == (200, {"predictions": [pytest.approx(SCORES["delay"])]})
    assert {row["model"] for row in pair.served.rows()} == {"delay"}


def test_elsewhere_that_header_means_nothing(pair: Asked) -> None:
    reply = pair(None, "POST", "/invocations", TABLE, TARGET | OWN)
    assert (reply.status, reply.json()) == (200, {"predictions": [pytest.approx(SCORES["delay"])]})


def test_labels_of_another_model_are_refused_in_the_body_too(pair: Asked) -> None:
    body = {"labels": [LABEL, LABEL | {"model": "price"}]}
    for path, headers in (("/v2/feedback", OWN), ("/v2/models/delay/feedback", {})):
        reply = pair(None, "POST", path, body, headers)
        assert (reply.status, b"expected the name of a model" in reply.body) == (400, True)
    assert pair.served.log.read_labels()[0].num_rows == 0
