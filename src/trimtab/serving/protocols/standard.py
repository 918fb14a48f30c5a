"""The routes of a gateway: the protocols that every gateway speaks, and those of a hosting platform."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Route
from trimtab.serving.protocols import (
    asked_retraining,
    feature_server,
    feedback,
    fired_triggers,
    health,
    kserve,
    pushed_kpis,
    pushed_rows,
)
from trimtab.serving.protocols.mlflow import scoring
from trimtab.serving.protocols.platforms import sagemaker, vertex
from trimtab.serving.protocols.platforms.containers import ContainerContract
from trimtab.serving.protocols.v2 import open_inference


def standard_routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the protocols that every gateway speaks."""
    protocols = {
        "open_inference": open_inference.routes,
        "kserve": kserve.routes,
        "health": health.routes,
        "mlflow": scoring.routes,
        "feedback": feedback.routes,
        "kpis": pushed_kpis.routes,
        "sources": pushed_rows.routes,
        "retrainings": asked_retraining.routes,
        "triggers": fired_triggers.routes,
        "features": feature_server.routes,
    }
    return [route.of(name) for name, routes in protocols.items() for route in routes(gateway)]


def contract_routes(contract: ContainerContract, gateway: Gateway, standard: Sequence[Route]) -> list[Route]:
    """Return the standard routes with those of a contract, which take the place of any that have their path."""
    if contract.platform == "sagemaker":
        own = sagemaker.routes(gateway)
    elif contract.platform != "vertex":
        return list(standard)
    else:
        own = vertex.routes(gateway, health=contract.health, predict=contract.predict)
    taken = {(route.method, route.path) for route in own}
    own = [route.of(contract.platform) for route in own]
    return [*own, *(route for route in standard if (route.method, route.path) not in taken)]
