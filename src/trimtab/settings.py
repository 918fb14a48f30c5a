"""Settings from environment variables. This is the only module that reads the process environment.

Every setting is a field with its variable, default and meaning. docs/settings.md lists them.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, field, fields
from pathlib import Path

CI_ACTORS = (
    ("GITHUB_ACTIONS", "GITHUB_ACTOR"),
    ("GITLAB_CI", "GITLAB_USER_LOGIN"),
    ("JENKINS_URL", "BUILD_USER_ID"),
)
"""A variable that a CI server sets, and the one with the name of the person who started the job; Jenkins has it by its
plugin build-user-vars."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of this process. A field whose variable is not set has its default."""

    environment: str = field(default="local", metadata={"env": "TRIMTAB_ENV"})
    """Name of the entry of `environments:` in trimtab.yaml that is used."""

    project: Path = field(default=Path("."), metadata={"env": "TRIMTAB_PROJECT"})
    """The project folder of a command without --project."""

    log_level: str = field(default="WARNING", metadata={"env": "TRIMTAB_LOG_LEVEL"})
    """Level of the log on standard error: DEBUG, INFO, WARNING, ERROR."""

    log_format: str = field(default="auto", metadata={"env": "TRIMTAB_LOG_FORMAT"})
    """Form of the gateway's log: json, text, or auto: text on a terminal, else JSON."""

    otlp_endpoint: str | None = field(default=None, metadata={"env": "OTEL_EXPORTER_OTLP_ENDPOINT"})
    """URL of the OpenTelemetry collector that receives the gateway's spans; with None the gateway makes no spans."""

    cache: Path = field(default=Path("~/.cache/trimtab"), metadata={"env": "TRIMTAB_CACHE"})
    """Folder of files that Trimtab can make again, such as a migrated empty tracking database."""

    user: str = field(default="", metadata={"env": "TRIMTAB_USER"})
    """Name of the person in records of approvals; empty means the login name."""

    token: str | None = field(default=None, metadata={"env": "TRIMTAB_TOKEN"})
    """Token of the person who promotes or approves a promotion; None: the login name of this machine says who it is."""

    signing_key: Path | None = field(default=None, metadata={"env": "TRIMTAB_SIGNING_KEY"})
    """PEM file of the private key that new bundles are signed with; None signs none."""

    ci: bool = field(default=False, metadata={"env": "CI"})
    """True on a build server. A test whose service is not there then fails; elsewhere it is skipped."""

    step_summary: Path | None = field(default=None, metadata={"env": "GITHUB_STEP_SUMMARY"})
    """File of a job of GitHub Actions to which `trimtab summary` appends Markdown; None appends to none."""

    container: str | None = field(default=None, metadata={"env": "TRIMTAB_CONTAINER"})
    """The platform in whose container this process serves or trains: sagemaker, vertex, docker, kubernetes or kserve.
    Its network is then the only way to a gateway, which may listen on all addresses without tokens."""

    sagemaker_folder: Path = field(default=Path("/opt/ml"), metadata={"env": "SAGEMAKER_BASE_DIR"})
    """Folder of SageMaker's files in its containers."""

    sagemaker_port: str | None = field(default=None, metadata={"env": "SAGEMAKER_BIND_TO_PORT"})
    """Port to listen on in SageMaker; when it is set, SageMaker runs this container."""

    vertex_mode: str | None = field(default=None, metadata={"env": "AIP_MODE"})
    """PREDICTION, together with the next three variables, means that Vertex AI runs this container."""

    vertex_port: str | None = field(default=None, metadata={"env": "AIP_HTTP_PORT"})
    """Port to listen on in Vertex AI."""

    vertex_health: str | None = field(default=None, metadata={"env": "AIP_HEALTH_ROUTE"})
    """Path of Vertex AI's health checks."""

    vertex_predict: str | None = field(default=None, metadata={"env": "AIP_PREDICT_ROUTE"})
    """Path of Vertex AI's prediction requests."""

    vertex_storage: str | None = field(default=None, metadata={"env": "AIP_STORAGE_URI"})
    """URL of the model's files in Vertex AI."""

    storage_emulator: str | None = field(default=None, metadata={"env": "STORAGE_EMULATOR_HOST"})
    """URL of a server in place of Google Cloud Storage, for tests; Google's own clients read it, too."""

    metadata_host: str | None = field(default=None, metadata={"env": "GCE_METADATA_HOST"})
    """Host and port of the metadata server of Google Cloud, when it is not the usual one."""


def read() -> Settings:
    """Read all settings from the environment as it is now."""
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
    return Settings(**values)  # type: ignore[arg-type]  # the loop above converts each value to its field's type


def variable(name: str) -> str | None:
    """Return an environment variable that a definition names, or None when it is not set."""
    return os.environ.get(name)


def variables() -> list[str]:
    """Return the names of all environment variables that are set."""
    return list(os.environ)


def login() -> str:
    """Return the name of the person who runs this process, for records of decisions.

    It is that of TRIMTAB_USER, on a CI server of the person who started the job, else the login name.
    """
    started = next((name for mark, who in CI_ACTORS if os.environ.get(mark) and (name := os.environ.get(who))), None)
    return read().user or started or os.environ.get("LOGNAME") or os.environ.get("USER") or _account()


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a user without an account
        return "unknown"


def child_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment with `extra` set, for a child process."""
    return {**os.environ, **extra}


def offer(**variables: str) -> None:
    """Set environment variables that a library reads at import. Variables that the user has set stay."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
