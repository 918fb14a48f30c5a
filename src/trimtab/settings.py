"""The only reader of the process environment.

Every setting is a field with its variable, default and meaning; docs/settings.md lists them.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, field, fields
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the process environment says. Fields without a variable set keep their default."""

    environment: str = field(default="local", metadata={"env": "TRIMTAB_ENV"})
    """Which entry of `environments:` in trimtab.yaml to open."""

    project: Path = field(default=Path("."), metadata={"env": "TRIMTAB_PROJECT"})
    """The project folder when a command is not told one."""

    log_level: str = field(default="WARNING", metadata={"env": "TRIMTAB_LOG_LEVEL"})
    """Level of the log on standard error: DEBUG, INFO, WARNING, ERROR."""

    log_format: str = field(default="auto", metadata={"env": "TRIMTAB_LOG_FORMAT"})
    """Form of the gateway's log: json, text, or auto: text on a terminal, else JSON."""

    otlp_endpoint: str | None = field(default=None, metadata={"env": "OTEL_EXPORTER_OTLP_ENDPOINT"})
    """URL of the OpenTelemetry collector that takes the gateway's spans; None makes none."""

    cache: Path = field(default=Path("~/.cache/trimtab"), metadata={"env": "TRIMTAB_CACHE"})
    """Where things that can be made again are kept, such as a migrated empty tracking database."""

    user: str = field(default="", metadata={"env": "TRIMTAB_USER"})
    """Who decides, in the record of approvals; empty means the login name."""

    signing_key: Path | None = field(default=None, metadata={"env": "TRIMTAB_SIGNING_KEY"})
    """PEM file of the private key that new bundles are signed with; None signs none."""

    ci: bool = field(default=False, metadata={"env": "CI"})
    """True on a build server: a service that is away then fails a test instead of skipping it."""

    container: str | None = field(default=None, metadata={"env": "TRIMTAB_CONTAINER"})
    """The platform in whose container this process serves: sagemaker or vertex."""

    sagemaker_port: str | None = field(default=None, metadata={"env": "SAGEMAKER_BIND_TO_PORT"})
    """Port that SageMaker asks for; set, it means that SageMaker runs this container."""

    vertex_mode: str | None = field(default=None, metadata={"env": "AIP_MODE"})
    """PREDICTION, with the next ones set, means that Vertex AI runs this container."""

    vertex_port: str | None = field(default=None, metadata={"env": "AIP_HTTP_PORT"})
    """Port that Vertex AI asks for."""

    vertex_health: str | None = field(default=None, metadata={"env": "AIP_HEALTH_ROUTE"})
    """Path of the health checks that Vertex AI makes."""

    vertex_predict: str | None = field(default=None, metadata={"env": "AIP_PREDICT_ROUTE"})
    """Path of the requests that Vertex AI sends."""

    vertex_storage: str | None = field(default=None, metadata={"env": "AIP_STORAGE_URI"})
    """Where Vertex AI keeps the model's files."""


def read() -> Settings:
    """Read the environment afresh."""
    values: dict[str, object] = {}
    for item in fields(Settings):
        text = os.environ.get(item.metadata["env"])
        if text is None or text == "":
            continue
        if item.type in ("Path", "Path | None"):
            values[item.name] = Path(text)
        elif item.type == "bool":
            values[item.name] = text.lower() in ("1", "true", "yes")
        else:
            values[item.name] = text
    return Settings(**values)  # type: ignore[arg-type]  # the loop above converts by the field's own type


def login() -> str:
    """Return who runs this process, for records of who decided."""
    return read().user or os.environ.get("LOGNAME") or os.environ.get("USER") or _account()


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a user that no file names
        return "unknown"


def child_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment with `extra` set, for a child process."""
    return {**os.environ, **extra}


def offer(**variables: str) -> None:
    """Set variables that a library reads when it is imported, where the user has not set them."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
