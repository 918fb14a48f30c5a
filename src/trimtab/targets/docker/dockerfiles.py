"""Dockerfiles of a project's parts, what they install, what they leave out, and a compose file that runs them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Sequence
from typing import Any, Literal

from trimtab.definitions.sources import FileSource
from trimtab.errors import PolicyError
from trimtab.policy.environments import LOCAL, Environment, folder_of
from trimtab.policy.model import Policy
from trimtab.records.loop_pulse import PULSE
from trimtab.targets.docker.image_packages import (
    ARROW,
    extras,
    gateway_modules,
    gateway_packages,
    pinned,
    training_packages,
)
from trimtab.targets.kept_regions import region
from trimtab.targets.project_facts import Facts
from trimtab.targets.yaml_text import header, yaml_file
from trimtab.units import MICROS

Part = Literal["gateway", "loop", "training"]
PARTS: tuple[Part, ...] = ("gateway", "loop", "training")
FOLDER = "deploy/docker"
HOME = "/project"
"""Where images have the project folder."""
STATE = f"{HOME}/.trimtab"
PORT, GRPC_PORT = 8080, 8081
CONTAINER = "TRIMTAB_CONTAINER"
"""Variable by which a platform says that its network is the only way to the gateway (settings.py). No image sets it."""
USER = 10001
"""User and group that images run as; neither needs an account."""
EPOCH = 315532800
"""1980-01-01, the earliest time that every archive format can hold, for files that a build makes."""
FULL, SLIM = "bookworm", "slim-bookworm"
"""Variants of the image of Python. The full one has git, by which a run knows the revision of the project, and the
OpenMP library that LightGBM needs."""
LEFT_OUT = (
    ".git",
    ".trimtab",
    ".venv",
    "**/__pycache__",
    "**/*.key",
    "**/.env",
    "**/.env.*",
    "deploy/*",
    "!deploy/docker",
)

_IMAGE = """\
# Build it in the project folder:
#   docker build --file {folder}/{part}.Dockerfile --tag {image}-{part}:TAG .
# The same files give the same packages. The same digest, too, takes one state of the base image, and
#   --build-arg SOURCE_DATE_EPOCH={epoch} --output type=image,rewrite-timestamp=true
# A wheel of your own: --build-arg TRIMTAB="trimtab{extras} @ https://..."
FROM python:{python}-{variant} AS build
ARG SOURCE_DATE_EPOCH={epoch}
ARG TRIMTAB="trimtab{extras}=={version}"
COPY {folder}/constraints.txt {folder}/{part}.txt /build/
# TRIMTAB has the version
# hadolint ignore=DL3013
RUN python -m venv --without-pip /opt/trimtab \\
 && {install}

FROM python:{python}-{variant}
LABEL org.opencontainers.image.title="{image}-{part}" \\
      org.opencontainers.image.description="{about} of project {project}" \\
      org.opencontainers.image.base.name="docker.io/library/python:{python}-{variant}" \\
      dev.trimtab.version="{version}"
{packages}COPY --from=build /opt/trimtab /opt/trimtab
{region}WORKDIR {home}
COPY . {home}
RUN mkdir -p {state} {folders} \\
 && chown {user}:{user} {state} {folders}
ENV PATH=/opt/trimtab/bin:$PATH \\
    HOME=/tmp \\
    PYTHONDONTWRITEBYTECODE=1 \\
    PYTHONUNBUFFERED=1 \\
    TRIMTAB_CACHE=/tmp/trimtab \\
    TRIMTAB_PROJECT={home}
ARG RUN_AS={user}
USER $RUN_AS:$RUN_AS
{ports}STOPSIGNAL SIGTERM
HEALTHCHECK {health}
ENTRYPOINT ["trimtab"]
CMD {command}
"""
_PIP = "pip --python /opt/trimtab/bin/python install --no-cache-dir"
_INSTALL = {
    True: f'{_PIP} --no-deps --requirement /build/{{part}}.txt \\\n && {_PIP} --no-deps "$TRIMTAB"',
    False: f'{_PIP} --constraint /build/constraints.txt --requirement /build/{{part}}.txt "$TRIMTAB"',
}
_OPENMP = """\
# OpenMP, which LightGBM links; it has the version of the base image's release
# hadolint ignore=DL3008
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends libgomp1 \\
 && rm -rf /var/lib/apt/lists/* /var/log/*
"""
_ABOUT = {"gateway": "Gateway", "loop": "Steering loop", "training": "Trainings and other stages"}
_JOB = """\
# The image with git, by which a run knows the revision of the project.
FROM python:{python}-{variant}
WORKDIR /job
COPY requirements.txt ./
RUN pip install --no-cache-dir --requirement requirements.txt
COPY trimtab /job/trimtab
ENV PYTHONPATH=/job \\
    HOME=/tmp
ENTRYPOINT ["python", "-m", "trimtab.app.jobs.training_process"]
"""


def files(facts: Facts) -> dict[str, str]:
    """Return the files for Docker by path.

    Raises PolicyError for a project that no image holds as it is, DefinitionError for a package without a pin.
    """
    check_folders(facts)
    found = {}
    for part in PARTS:
        found[f"{FOLDER}/{part}.Dockerfile"] = dockerfile(facts, part)
        found[f"{FOLDER}/{part}.Dockerfile.dockerignore"] = _ignored(facts)
        found[f"{FOLDER}/{part}.txt"] = requirements(facts, part)
    found[f"{FOLDER}/constraints.txt"] = header("docker") + facts.constraints
    found[f"{FOLDER}/compose.yaml"] = compose(facts)
    return found


def dockerfile(facts: Facts, part: Part) -> str:
    """Return the Dockerfile of a part."""
    policy, served = facts.policy, part == "gateway"
    ports = [PORT, *([GRPC_PORT] if policy.serving.grpc_port is not None else [])]
    named = "" if served else "".join(f"[{','.join(found)}]" for found in [extras(facts, loop=part == "loop")] if found)
    text = _IMAGE.format(
        about=_ABOUT[part],
        command=_listed(arguments(policy, part)),
        epoch=EPOCH,
        extras=named,
        folder=FOLDER,
        folders=" ".join(f"{HOME}/{name}" for name in data_folders(facts)),
        health=_health(policy, part),
        home=HOME,
        image=facts.image,
        install=_INSTALL[served].format(part=part),
        packages=_OPENMP if served and "lightgbm" in gateway_modules(facts) else "",
        part=part,
        ports="".join(f"EXPOSE {port}\n" for port in ports) if served else "",
        project=_label(policy.project),
        python=policy.deploy.python,
        region=region("image"),
        state=STATE,
        user=USER,
        variant=SLIM if served else FULL,
        version=facts.version,
    )
    return header("docker") + text.replace(f"{STATE}  \\", f"{STATE} \\").replace(f"{STATE} \n", f"{STATE}\n")


def job_dockerfile(python: str) -> str:
    """Return the Dockerfile of a training elsewhere, with the packages of this environment and its Trimtab."""
    return _JOB.format(python=python, variant=FULL)


def requirements(facts: Facts, part: Part) -> str:
    """Return what the image of a part installs with pip in addition to Trimtab."""
    if part == "gateway":
        lines = pinned(gateway_packages(facts), facts.constraints)
        notes = [
            "All packages of the gateway: what serving imports, and nothing that trains. pip gets no more than these.",
            f"Bodies in Parquet and Arrow, and explanations of old predictions, need {ARROW} in addition (165 MB).",
        ]
        if (own := gateway_modules(facts)) and "sklearn" in own:
            notes.append("sklearn is here because files of the project import it at their top, not in a trainer.")
    else:
        lines = pinned(training_packages(facts), facts.constraints)
        notes = ["What the project imports beyond Trimtab and its dependencies; constraints.txt has all versions."]
    return header("docker", *notes) + "".join(f"{line}\n" for line in lines) + region("packages")


def arguments(policy: Policy, part: Part) -> list[str]:
    """Return what `trimtab` is called with in the container of a part."""
    if part == "gateway":
        grpc = ["--grpc-port", str(GRPC_PORT)] if policy.serving.grpc_port is not None else []
        return ["serve", "--host", "0.0.0.0", "--port", str(PORT), *grpc]
    return ["up", "--no-gateway"] if part == "loop" else ["run"]


def pulse_check(policy: Policy) -> list[str]:
    """Return a command that fails when the loop has ended no step for longer than `alerts.loop_silence`."""
    silence = policy.alerts.loop_silence / MICROS["s"]
    environments = {LOCAL: Environment(), **policy.environments}
    pulses = [f"{posixpath.join(HOME, folder_of(name, each))}/run/{PULSE}" for name, each in environments.items()]
    code = (
        f"import os, sys, time; pulses = {pulses}; "
        f"sys.exit(not any(os.path.exists(p) and time.time() - os.stat(p).st_mtime <= {silence:g} for p in pulses))"
    )
    return ["python", "-c", code]


def data_folders(facts: Facts) -> list[str]:
    """Return the folders of the project that sources read files from; they are mounted, not copied into images."""
    files = [each.path for each in facts.definitions.sources.values() if isinstance(each, FileSource)]
    paths = [path for path in files if not path.startswith("/")]
    return sorted({path.strip("./").split("/")[0] for path in paths if "://" not in path and "/" in path.strip("./")})


def check_folders(facts: Facts, mounted: Collection[str] = ()) -> None:
    """Raise PolicyError for a source whose files a container cannot have at their path. mounted: folders of volumes."""
    for source in facts.definitions.sources.values():
        if not isinstance(source, FileSource) or lies_in(source.path, mounted):
            continue
        if source.path.startswith(("/", "~", "..")):
            raise PolicyError(
                f"definitions.py: source '{source.name}' reads {source.path}, which no container has; expected a path "
                "inside the project folder, such as data/flights, or an object store, such as s3://bucket/flights"
            )


def lies_in(path: str, folders: Collection[str]) -> bool:
    """Return whether a path is one of some folders or lies in one."""
    return any(f"{posixpath.normpath(path)}/".startswith(f"{each}/") for each in folders)


def compose(facts: Facts) -> str:
    """Return the compose file: gateway and loop beside one another on one machine."""
    services = {part: _service(facts, part) for part in PARTS}
    ports = [PORT, *([GRPC_PORT] if facts.policy.serving.grpc_port is not None else [])]
    services["gateway"] |= {"ports": [f"127.0.0.1:{port}:{port}" for port in ports]}
    services["gateway"]["environment"] = {CONTAINER: "docker", **services["gateway"]["environment"]}
    services["gateway"]["volumes"] += [
        f"{path if path.startswith('/') else f'../../{path}'}:{posixpath.join(HOME, path)}:ro"
        for path in tls_files(facts.policy).values()
    ]
    for part in ("loop", "training"):
        services[part] |= {"pid": "service:gateway", "depends_on": ["gateway"]}
    services["training"] |= {"profiles": ["training"]}
    notes = (
        "docker compose --file deploy/docker/compose.yaml up --build gateway loop",
        "docker compose --file deploy/docker/compose.yaml run --rm training      # the first model",
        "TRIMTAB_ENV chooses an environment of the policy. Variables with secrets come from this shell, or from",
        f"--env-file FILE. Files of serving.tls are mounted; let user {USER} read them.",
        "The gateway is reached from this machine alone. Both parts see the same processes and files, as the stores in",
        "folders need.",
    )
    return yaml_file("docker", {"name": facts.slug, "services": services, "volumes": {"state": {}}}, notes=notes)


def tls_files(policy: Policy) -> dict[str, str]:
    """Return the paths of the files of `serving.tls` by their names in a Secret."""
    tls = policy.serving.tls
    found = {} if tls is None else {"tls.crt": tls.certificate, "tls.key": tls.key, "ca.crt": tls.client_ca}
    return {name: path for name, path in found.items() if path is not None}


def _service(facts: Facts, part: Part) -> dict[str, Any]:
    stop = facts.policy.serving.drain + (facts.policy.serving.drain_delay or 0)
    mounts = [f"../../{name}:{HOME}/{name}" for name in data_folders(facts)]
    return {
        "image": f"{facts.image}-{part}:${{IMAGE_TAG:-latest}}",
        "build": {"context": "../..", "dockerfile": f"{FOLDER}/{part}.Dockerfile"},
        "environment": {"TRIMTAB_ENV": f"${{TRIMTAB_ENV:-{LOCAL}}}", **dict.fromkeys(facts.secrets)},
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "volumes": [f"state:{STATE}", *mounts],
        "stop_grace_period": f"{stop // MICROS['s'] + 10}s",
        "restart": "no" if part == "training" else "unless-stopped",
    }


def _health(policy: Policy, part: Part) -> str:
    if part == "training":
        return "NONE"
    if part == "loop":
        return (
            f"--interval=60s --timeout=10s --start-period=120s --retries=3 \\\n    CMD {_listed(pulse_check(policy))}"
        )
    code = f"from urllib.request import urlopen; urlopen('http://127.0.0.1:{PORT}/v2/health/live', timeout=2)"
    if policy.serving.tls is not None:
        code = f"import socket; socket.create_connection(('127.0.0.1', {PORT}), 2)"
    command = _listed(["python", "-c", code])
    return f"--interval=10s --timeout=5s --start-period=60s --retries=3 \\\n    CMD {command}"


def _ignored(facts: Facts) -> str:
    key = [] if facts.policy.serving.tls is None else [facts.policy.serving.tls.key]
    lines = [*LEFT_OUT, "deploy/*", f"!{FOLDER}", *data_folders(facts), *key]
    return header("docker") + "".join(f"{line}\n" for line in lines) + region("ignored")


def _label(text: str) -> str:
    """Return a text as it stands in the double quotes of a LABEL."""
    return re.sub(r'(["\\$])', r"\\\1", " ".join(text.split()))


def _listed(words: Sequence[str]) -> str:
    """Return words in the exec form of Dockerfiles."""
    quoted = ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    return f"[{quoted}]"
