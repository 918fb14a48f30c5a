"""Writes what a training elsewhere needs: a Dockerfile with its context, and the manifest of a Kubernetes Job.

The image holds Python, the packages of this environment at their versions, and this installation of Trimtab. The
project folder is mounted under its own path, so that paths in the stores stay valid.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import yaml

import trimtab
from trimtab import units
from trimtab.app.jobs.job_order import Order
from trimtab.policy.model import Training
from trimtab.targets.docker.dockerfiles import job_dockerfile
from trimtab.training.environment import capture

DOCKERFILE, REQUIREMENTS, PACKAGE, MANIFEST = "Dockerfile", "requirements.txt", "trimtab", "job.yaml"
ORDER, ORDER_FOLDER = "order.json", "/order"
KEPT_S = 24 * 3600
"""Seconds for which Kubernetes keeps an ended Job."""
PROGRAM = "trimtab.app.jobs.training_process"


def write_context(folder: Path, project: Path) -> None:
    """Write the folder that an image is built from."""
    folder.mkdir(parents=True, exist_ok=True)
    pins = [pin for pin in capture(project).packages if not pin.startswith("trimtab==")]
    (folder / REQUIREMENTS).write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    (folder / DOCKERFILE).write_text(job_dockerfile(platform.python_version()), encoding="utf-8")
    own = Path(trimtab.__file__).parent
    shutil.copytree(own, folder / PACKAGE, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def image_name(project: Path) -> str:
    """Return the name of the image: it changes with Python, packages and the release."""
    return f"trimtab-training:{trimtab.__version__}-{capture(project).hash[:12]}"


def job_name(order: Order) -> str:
    """Return the name of the Job of an order; the same for the same key."""
    model = re.sub(r"[^a-z0-9]+", "-", order.model.lower()).strip("-")[:30]
    asked = f"{order.dataset}/{order.key}/{order.refit}"
    return f"trimtab-{model}-{hashlib.sha256(asked.encode()).hexdigest()[:10]}"


def manifest(order: Order, training: Training, *, image: str, timeout: int | None) -> str:
    """Return a Secret with the order, which may hold passwords, and the Job, as YAML. timeout: microseconds."""
    name = job_name(order)
    labels = {"app.kubernetes.io/name": "trimtab-training", "app.kubernetes.io/instance": name}
    container: dict[str, Any] = {
        "name": "training",
        "image": image,
        "command": ["python", "-m", PROGRAM],
        "args": [f"{ORDER_FOLDER}/{ORDER}"],
        "workingDir": order.project,
        "volumeMounts": [
            {"name": "project", "mountPath": order.project},
            {"name": "order", "mountPath": ORDER_FOLDER, "readOnly": True},
        ],
        "env": [{"name": "PYTHONPATH", "value": "/job"}],
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    if order.memory is not None:
        size = str(order.memory)
        container["resources"] = {"requests": {"memory": size}, "limits": {"memory": size}}
    job: dict[str, Any] = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": KEPT_S,
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "restartPolicy": "Never",
                "containers": [container],
                "volumes": [
                    {"name": "project", "persistentVolumeClaim": {"claimName": training.claim or "trimtab-project"}},
                    {"name": "order", "secret": {"secretName": name}},
                ],
            },
        },
    }
    if timeout is not None:
        job["activeDeadlineSeconds"] = max(1, timeout // units.MICROS["s"])
    parts = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels},
            "type": "Opaque",
            "stringData": {ORDER: msgspec.json.encode(order).decode()},
        },
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": job},
    ]
    return yaml.safe_dump_all(parts, sort_keys=False)


def write_job_files(folder: Path, order: Order, training: Training, *, timeout: int | None = None) -> None:
    """Write the context of the image, and the manifest of the Job that runs it."""
    project = Path(order.project)
    write_context(folder, project)
    image = training.image or image_name(project)
    (folder / MANIFEST).write_text(manifest(order, training, image=image, timeout=timeout), encoding="utf-8")
