"""The routes of the protocols that every gateway speaks."""

from __future__ import annotations

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Route
from trimtab.serving.protocols import feedback, health, kserve
from trimtab.serving.protocols.mlflow import scoring
from trimtab.serving.protocols.v2 import open_inference


def standard_routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the protocols that every gateway speaks."""
    protocols = {
        "open_inference": open_inference.routes,
        "kserve": kserve.routes,
        "health": health.routes,
        "mlflow": scoring.routes,
        "feedback": feedback.routes,
    }
    return [route.of(name) for name, routes in protocols.items() for route in routes(gateway)]
