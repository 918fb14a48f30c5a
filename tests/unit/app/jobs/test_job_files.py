"""The Dockerfile passes hadolint, the Job's manifest is one that Kubernetes takes, and both name what the job needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import msgspec
import pytest
import yaml

from trimtab.app.jobs.container_jobs import in_cluster, in_container
from trimtab.app.jobs.job_files import job_name, manifest, write_job_files
from trimtab.app.jobs.job_order import Order, Result
from trimtab.errors import StageError
from trimtab.policy.model import Training
from trimtab.units import MICROS

VERSION = "1.30"
"""The oldest Kubernetes whose schema is asked."""
SHELL = shutil.which("sh")


@pytest.fixture
def order(tmp_path: Path) -> Order:
    (tmp_path / "project").mkdir()
    return Order(
        project=str(tmp_path / "project"),
        environment='{"metadata": "postgresql://me:secret@db/x"}',
        model="Arrival_Delay",
        dataset="d1",
        key="k",
        result=str(tmp_path / "project" / "result.json"),
        memory=2 * 10**9,
    )


def test_the_dockerfile_passes_hadolint(order: Order, tmp_path: Path) -> None:
    write_job_files(tmp_path / "job", order, Training())
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, tmp_path / "job" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_holds_the_packages_of_this_environment_and_this_trimtab(order: Order, tmp_path: Path) -> None:
    write_job_files(tmp_path / "job", order, Training())
    pins = (tmp_path / "job" / "requirements.txt").read_text().splitlines()
    assert any(pin.startswith("scikit-learn==") for pin in pins)
    assert not any(pin.startswith("trimtab==") for pin in pins)
    assert (tmp_path / "job" / "trimtab" / "app" / "jobs" / "training_process.py").is_file()


@pytest.mark.parametrize("timeout", [None, 90 * MICROS["s"]])
def test_kubernetes_takes_the_manifest(order: Order, timeout: int | None) -> None:
    text = manifest(order, Training(claim="files"), image="registry/training:1", timeout=timeout)
    parts = list(yaml.safe_load_all(text))
    for part in parts:
        kubernetes_validate.validate(part, VERSION, strict=True)
    job = parts[1]["spec"]
    assert job.get("activeDeadlineSeconds") == (None if timeout is None else 90)
    assert job["template"]["spec"]["containers"][0]["resources"]["limits"] == {"memory": str(2 * 10**9)}
    assert job["template"]["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "files"}


def test_only_the_secret_has_the_order_which_may_hold_passwords(order: Order) -> None:
    secret, job = yaml.safe_load_all(manifest(order, Training(), image="i", timeout=None))
    assert msgspec.json.decode(secret["stringData"]["order.json"], type=Order) == order
    assert "secret@db" not in str(job)


def test_a_machine_without_the_program_says_what_to_do(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StageError, match=r"container needs docker or podman.*--job-files FOLDER"):
        in_container(Training())(order, None)
    with pytest.raises(StageError, match=r"kubernetes needs kubectl.*training\.on: subprocess"):
        in_cluster(Training())(order, None)


def test_a_cluster_needs_an_image_and_a_claim(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path, "kubectl", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match=r"needs training\.image.*training\.claim"):
        in_cluster(Training())(order, None)


def _program(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!{SHELL}\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_container_gets_the_order_and_the_project_and_leaves_the_result(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an engine that keeps what it is asked, and writes a result as the job does
    result = msgspec.json.encode(Result(run="r1")).decode()
    work = f"cat > {tmp_path}/order; printf '%s' '{result}' > {order.result}"
    body = f'echo "$@" >> {tmp_path}/asked; case "$1" in run) {work};; esac'
    path = _program(tmp_path, "docker", body)
    monkeypatch.setattr(shutil, "which", lambda name: str(path) if name == "docker" else None)

    # then the job runs in the image of the policy with the limit of the order
    assert in_container(Training(image="mine:1"))(order, None) == Result(run="r1")
    asked = (tmp_path / "asked").read_text()
    assert "--memory 2000000000 --user" in asked
    assert f"--volume {order.project}:{order.project} --workdir {order.project} mine:1" in asked
    assert msgspec.json.decode((tmp_path / "order").read_bytes(), type=Order).dataset == "d1"
    assert not Path(order.result).exists()

    # and without an image one is looked for before it is built
    in_container(Training())(order, None)
    assert "image inspect trimtab-training:" in (tmp_path / "asked").read_text()


def test_a_job_that_fails_is_told_with_the_end_of_its_log(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a cluster in which the job fails
    body = """case "$1 $2" in "wait --for=condition=complete") exit 1;; "logs "*) echo "no such claim";; esac; exit 0"""
    path = _program(tmp_path, "kubectl", body)
    monkeypatch.setattr(shutil, "which", lambda name: str(path))
    with pytest.raises(StageError, match=rf"ended in Job {job_name(order)} with a failure \(no such claim\)"):
        in_cluster(Training(image="i", claim="c"))(order, None)
    _program(tmp_path, "kubectl", "exit 0")
    with pytest.raises(StageError, match="and without a result"):
        in_cluster(Training(image="i", claim="c"))(order, None)
