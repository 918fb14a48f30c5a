"""Trains in a container, by docker or podman, and in a Job of Kubernetes, by kubectl."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from trimtab import units
from trimtab.app.jobs.job_files import image_name, job_name, manifest, write_context
from trimtab.app.jobs.job_order import Order, Result, read_result
from trimtab.errors import StageError
from trimtab.policy.model import Training

ENGINES = ("docker", "podman")
WAIT = "5s"
"""How long kubectl waits for the end of a Job before it is asked whether the Job failed."""
SHOWN = 12
"""Lines of a program's output that an error shows."""

Runner = Callable[[Order, int | None], Result]


def in_container(training: Training) -> Runner:
    """Return the place that runs an order in a container of this machine."""

    def run(order: Order, timeout: int | None) -> Result:
        engine = _program(ENGINES, "container")
        image = training.image or _built(engine, Path(order.project))
        memory = [] if order.memory is None else ["--memory", str(order.memory)]
        name = job_name(order)
        command = [engine, "run", "--rm", "--interactive", "--name", name, *memory]
        command += ["--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{order.project}:{order.project}"]
        command += ["--workdir", order.project, image]
        limited = msgspec.structs.replace(order, memory=None)  # the engine keeps the limit
        try:
            done = subprocess.run(
                command,
                input=msgspec.json.encode(limited) + b"\n",
                timeout=None if timeout is None else timeout / units.MICROS["s"],
                check=False,
            )
        except subprocess.TimeoutExpired:
            subprocess.run([engine, "kill", name], capture_output=True, check=False)
            raise _late(order, timeout) from None
        return read_result(order, f"ended in a container with exit code {done.returncode}")

    return run


def in_cluster(training: Training) -> Runner:
    """Return the place that runs an order in a Job of the cluster that kubectl is set up for."""

    def run(order: Order, timeout: int | None) -> Result:
        kubectl = _program(("kubectl",), "kubernetes")
        if training.image is None or training.claim is None:
            raise StageError(
                "training.on: kubernetes needs training.image, an image that the cluster can pull, and training.claim, "
                "the PersistentVolumeClaim with the project folder"
            )
        name, until = job_name(order), None if timeout is None else time.monotonic() + timeout / units.MICROS["s"]
        _run([kubectl, "delete", "job", name, "--ignore-not-found"])
        _run([kubectl, "apply", "-f", "-"], manifest(order, training, image=training.image, timeout=timeout))
        try:
            while not _has(kubectl, name, "complete", WAIT):
                if _has(kubectl, name, "failed", "0s"):
                    logs = _run([kubectl, "logs", f"job/{name}", f"--tail={SHOWN}"], fails=True)
                    return read_result(order, f"ended in Job {name} with a failure ({logs.strip() or 'no output'})")
                if until is not None and time.monotonic() > until:
                    _run([kubectl, "delete", "job", name], fails=True)
                    raise _late(order, timeout)
        finally:
            _run([kubectl, "delete", "secret", name, "--ignore-not-found"], fails=True)
        return read_result(order, f"ended in Job {name}")

    return run


def _late(order: Order, timeout: int | None) -> StageError:
    return StageError(
        f"the training of model '{order.model}' did not end within {units.short(timeout or 0)} (retrain.timeout)"
    )


def _program(names: Sequence[str], place: str) -> str:
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        raise StageError(
            f"training.on: {place} needs {' or '.join(names)}, which is not on the PATH of this machine. Write the "
            "Dockerfile and the Job for another one with: trimtab train --job-files FOLDER; or train here with "
            "training.on: subprocess"
        )
    return found


def _built(engine: str, project: Path) -> str:
    """Return the name of the image of this environment, which is built when it is not there."""
    image = image_name(project)
    if subprocess.run([engine, "image", "inspect", image], capture_output=True, check=False).returncode:
        with TemporaryDirectory(prefix="trimtab-") as folder:
            write_context(Path(folder), project)
            _run([engine, "build", "--tag", image, folder])
    return image


def _has(kubectl: str, name: str, condition: str, wait: str) -> bool:
    command = [kubectl, "wait", f"--for=condition={condition}", f"job/{name}", f"--timeout={wait}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str], text: str | None = None, *, fails: bool = False) -> str:
    """Run a program and return its output. Raises StageError with the end of it when it fails, unless it may."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode and not fails:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-SHOWN:])
        raise StageError(f"{Path(command[0]).name} {command[1]} failed with exit code {done.returncode}: {said}")
    return done.stdout
