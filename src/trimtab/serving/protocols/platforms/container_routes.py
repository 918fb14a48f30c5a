"""The routes that a hosting platform calls, beside or instead of the standard ones. Called by worker."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Route
from trimtab.serving.protocols.platforms import sagemaker, vertex
from trimtab.serving.protocols.platforms.containers import ContainerContract


def contract_routes(contract: ContainerContract, gateway: Gateway, standard: Sequence[Route]) -> list[Route]:
    """Return the standard routes with those of a contract, which take the place of any that have their path."""
    if contract.platform == "sagemaker":
        own = sagemaker.routes(gateway)
    else:
        own = vertex.routes(gateway, health=contract.health, predict=contract.predict)
    taken = {(route.method, route.path) for route in own}
    own = [route.of(contract.platform) for route in own]
    return [*own, *(route for route in standard if (route.method, route.path) not in taken)]
