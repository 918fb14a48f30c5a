"""Contracts of hosting platforms: in force only where the platform names itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trimtab.errors import UsageError
from trimtab.serving.protocols.platforms.containers import container_contract
from trimtab.serving.protocols.standard import contract_routes, standard_routes
from trimtab.serving.web.routes import Router
from trimtab.settings import Settings

if TYPE_CHECKING:
    from unit.serving.conftest import Served

VERTEX: dict[str, Any] = {"vertex_mode": "PREDICTION", "vertex_port": "7080", "vertex_predict": "/v1/models/m:predict"}


def test_no_other_machine_has_a_contract() -> None:
    assert container_contract(Settings()) is None
    assert container_contract(Settings(vertex_mode="PREDICTION")) is None
    assert container_contract(Settings(**(VERTEX | {"vertex_mode": "TRAINING"}))) is None


def test_sagemaker_s_contract() -> None:
    found = container_contract(Settings(container="sagemaker"))
    assert found is not None
    assert (found.host, found.port, found.model) == ("0.0.0.0", 8080, "/opt/ml/model")
    assert (found.health, found.predict, found.max_body) == ("/ping", "/invocations", 25 * 2**20)
    bound = container_contract(Settings(sagemaker_port="9000"))
    assert bound is not None
    assert (bound.platform, bound.port, bound.reason) == ("sagemaker", 9000, "SAGEMAKER_BIND_TO_PORT is set")


def test_vertex_s_contract() -> None:
    found = container_contract(Settings(**VERTEX, vertex_health="/up", vertex_storage="gs://bucket/model"))
    assert found is not None
    assert (found.platform, found.host, found.port) == ("vertex", "0.0.0.0", 7080)
    assert (found.health, found.predict, found.model) == ("/up", "/v1/models/m:predict", None)
    here = container_contract(Settings(container="vertex", vertex_storage="file:///models/my%20model"))
    assert here is not None
    assert (here.port, here.health, here.predict, here.model) == (8080, "/health", "/predict", "/models/my model")


@pytest.mark.parametrize(("platform", "model"), [("docker", None), ("kubernetes", None), ("kserve", "/mnt/models")])
def test_a_container_whose_network_is_closed_opens_the_gateway(platform: str, model: str | None) -> None:
    found = container_contract(Settings(container=platform))
    assert found is not None
    assert (found.host, found.port, found.model) == ("0.0.0.0", 8080, model)
    assert found.reason == f"TRIMTAB_CONTAINER is {platform}"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"container": "sagemakr"}, "Did you mean 'sagemaker'?"),
        ({"sagemaker_port": "0"}, "SAGEMAKER_BIND_TO_PORT is '0'; expected a port"),
        ({"sagemaker_port": "80x"}, "expected a port"),
        (VERTEX | {"vertex_predict": "predict"}, "AIP_PREDICT_ROUTE is 'predict'; expected a path such as /predict"),
        (VERTEX | {"vertex_health": "/{x}"}, "AIP_HEALTH_ROUTE is '/{x}'"),
    ],
)
def test_what_a_platform_cannot_mean_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        container_contract(Settings(**values))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(container="sagemaker"),
        Settings(**VERTEX, vertex_health="/v1/models/m"),
        Settings(**(VERTEX | {"vertex_predict": "/invocations"}), vertex_health="/ping"),
    ],
)
def test_its_routes_take_the_place_of_others(served: Served, settings: Settings) -> None:
    contract = container_contract(settings)
    assert contract is not None
    router = Router(contract_routes(contract, served.gateway, standard_routes(served.gateway)))
    route, params = router.find({"method": "POST", "path": contract.predict})
    assert ("SageMaker" in route.summary or "Vertex" in route.summary, params) == (True, {})
    assert router.find({"method": "GET", "path": contract.health})[0].permission == "open"
    assert router.find({"method": "GET", "path": "/v2"})[0].path == "/v2"
