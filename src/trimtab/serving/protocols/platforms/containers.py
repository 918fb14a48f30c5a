"""What a hosting platform asks of the container it runs: where to listen, which paths, where the model lies.

standard.py makes routes of it. Only a platform that names itself in the
environment has a contract; it is the reason for which a gateway may listen on all addresses without tokens.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec

from trimtab.errors import UsageError, nearest
from trimtab.settings import Settings

Platform = Literal["sagemaker", "vertex", "docker", "kubernetes", "kserve"]
PLATFORMS: tuple[Platform, ...] = ("sagemaker", "vertex", "docker", "kubernetes", "kserve")
ANY_ADDRESS = "0.0.0.0"
PORT = 8080
SAGEMAKER_MODEL = "model"
"""Folder of the model below SAGEMAKER_BASE_DIR, which is /opt/ml."""
SAGEMAKER_BODY = 25 * 2**20
"""The largest payload that the documentation of real-time endpoints has ever named."""
KSERVE_MODEL = "/mnt/models"
VERTEX_HEALTH, VERTEX_PREDICT = "/health", "/predict"


class ContainerContract(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve inside a platform's container, which only the platform can reach."""

    platform: Platform
    host: str = ANY_ADDRESS
    port: int
    model: str | None
    """Folder into which the platform has put the model; None: the image contains it, or a bucket."""
    bucket: str | None = None
    """URL of the model in Cloud Storage, gs://BUCKET/PATH; None without one."""
    health: str
    predict: str
    """Paths of the two routes; of docker, kubernetes and kserve they are routes of every gateway."""
    max_body: int | None = None
    """Largest body that the platform sends, when it exceeds the gateway's own limit."""
    reason: str
    """Why this contract applies, for the log."""


def container_contract(settings: Settings) -> ContainerContract | None:
    """Return the contract of the platform that runs this process, None on any other machine. Raises UsageError."""
    platform, reason = _platform(settings)
    if platform == "sagemaker":
        return ContainerContract(
            platform=platform,
            port=_port("SAGEMAKER_BIND_TO_PORT", settings.sagemaker_port, PORT),
            model=str(settings.sagemaker_folder / SAGEMAKER_MODEL),
            health="/ping",
            predict="/invocations",
            max_body=SAGEMAKER_BODY,
            reason=reason,
        )
    if platform == "vertex":
        return ContainerContract(
            platform=platform,
            port=_port("AIP_HTTP_PORT", settings.vertex_port, PORT),
            model=_folder(settings.vertex_storage),
            bucket=settings.vertex_storage if (settings.vertex_storage or "").startswith("gs://") else None,
            health=_path("AIP_HEALTH_ROUTE", settings.vertex_health, VERTEX_HEALTH),
            predict=_path("AIP_PREDICT_ROUTE", settings.vertex_predict, VERTEX_PREDICT),
            reason=reason,
        )
    if platform is not None:
        return ContainerContract(
            platform=platform,
            port=PORT,
            model=KSERVE_MODEL if platform == "kserve" else None,
            health="/v2/health/ready",
            predict="/v2/models/{model}/infer",
            reason=reason,
        )
    return None


def _platform(settings: Settings) -> tuple[Platform | None, str]:
    if settings.container is not None:
        for platform in PLATFORMS:
            if settings.container == platform:
                return platform, f"TRIMTAB_CONTAINER is {platform}"
        named = settings.container[:40]
        raise UsageError(f"TRIMTAB_CONTAINER is '{named}'.{nearest(named, PLATFORMS)}")
    if settings.vertex_mode == "PREDICTION" and settings.vertex_port and settings.vertex_predict:
        return "vertex", "AIP_MODE is PREDICTION"
    if settings.sagemaker_port:
        return "sagemaker", "SAGEMAKER_BIND_TO_PORT is set"
    return None, ""


def _port(variable: str, text: str | None, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) < 65536):
        raise UsageError(f"{variable} is '{text:.40}'; expected a port, 1 to 65535")
    return int(text)


def _path(variable: str, text: str | None, default: str) -> str:
    if not text:
        return default
    if not text.startswith("/") or set(text) & set("{}?# "):
        raise UsageError(f"{variable} is '{text:.100}'; expected a path such as {default}")
    return text


def _folder(uri: str | None) -> str | None:
    """Return the folder that a URI means on this machine; a bucket has none, so there the image brings the model."""
    parts = urlsplit(uri or "")
    if parts.scheme in ("", "file") and parts.path:
        return unquote(parts.path) if parts.scheme else uri
    return None
