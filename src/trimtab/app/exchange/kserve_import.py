"""Reads InferenceServices of KServe (v1beta1): local models, and the settings that the policy has."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from trimtab.app.exchange.found_models import Found
from trimtab.app.exchange.project_draft import model_name
from trimtab.bundle.mlmodel import MLMODEL
from trimtab.errors import DataError, UsageError

API = "serving.kserve.io/v1beta1"
KIND = "InferenceService"
SIZE = re.compile(r"(\d+)(Ki|Mi|Gi|K|M|G|)")
FRAMEWORKS = ("sklearn", "xgboost", "lightgbm", "onnx", "mlflow", "triton", "pytorch", "tensorflow", "pmml", "paddle")
"""Keys of a predictor of the older form, in which the framework is the key."""
KNOWN = ("model", "containers", "canaryTrafficPercent", "minReplicas", "maxReplicas", "timeout", "containerConcurrency")
NOT_MLFLOW = (
    "{path} holds no MLflow model, so its columns are unknown; save it with mlflow.<flavour>.save_model(..., "
    "signature=...) and name that folder"
)


def read_kserve(path: Path, mounts: Mapping[str, Path]) -> Found:
    """Read the InferenceServices of a YAML file.

    Args:
        path: a file with one or several documents.
        mounts: by name of a PersistentVolumeClaim the local folder with its content.

    Raises:
        UsageError: the file is not there, or holds no InferenceService.
        DataError: it is not YAML.
    """
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(each, dict)]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not YAML: {error}") from None
    found = Found(system=f"kserve:{path.name}")
    services = [each for each in documents if each.get("kind") == KIND]
    if not services:
        kinds = ", ".join(str(each.get("kind")) for each in documents) or "nothing"
        raise UsageError(f"{path}: holds {kinds}; expected an {KIND} ({API})")
    for each in documents:
        if each not in services:
            found.leave_out(str(each.get("kind")), "only InferenceServices are read")
    for service in services:
        _service(path, service, found, mounts)
    return found


def _service(path: Path, service: Mapping[str, Any], found: Found, mounts: Mapping[str, Path]) -> None:
    name = str(_at(service, "metadata", "name") or "")
    where = f"{path.name}: {name or 'an InferenceService without a name'}"
    if service.get("apiVersion") != API:
        raise DataError(f"{where}: apiVersion is {service.get('apiVersion')!r}; expected {API}")
    predictor = _at(service, "spec", "predictor")
    if not name or not isinstance(predictor, dict):
        raise DataError(f"{where}: expected metadata.name and spec.predictor")
    for part in ("transformer", "explainer"):
        if _at(service, "spec", part) is not None:
            found.leave_out(
                f"{name}.{part}", "feature views and transforms of definitions.py, and explanations of bundles"
            )
    framework = next((key for key in FRAMEWORKS if key in predictor), None)
    model = predictor.get("model") or (predictor.get(framework) if framework else None) or {}
    _model(path, name, model, framework, found, mounts)
    containers = predictor.get("containers") or []
    if containers and not model:
        found.leave_out(f"{name}.containers", "a container of its own holds no model that can be read")
    _limits(name, predictor, model or (containers[0] if containers else {}), found)
    for key in predictor:
        if key not in (*KNOWN, framework):
            found.leave_out(f"{name}.{key}", "the policy has no such setting")


def _model(
    path: Path, name: str, model: Mapping[str, Any], framework: str | None, found: Found, mounts: Mapping[str, Path]
) -> None:
    uri = model.get("storageUri")
    if uri is None and isinstance(model.get("storage"), dict):
        found.leave_out(f"{name}.storage", "files behind a storage secret are not fetched; name a local folder")
    if not isinstance(uri, str):
        return
    form = str(_at(model, "modelFormat", "name") or framework or "")
    folder = _folder(path, uri, mounts)
    if folder is None:
        how = "give its folder: --mount NAME=FOLDER" if uri.startswith("pvc://") else "download it, and name the folder"
        found.leave_out(f"{name}.storageUri", f"{uri} ({form}) is not on this machine; {how}")
    elif not (folder / MLMODEL).is_file():
        found.leave_out(f"{name}.storageUri", NOT_MLFLOW.format(path=folder))
    else:
        found.models[model_name(name)] = folder
    for key in model:
        if key not in ("storageUri", "modelFormat", "resources", "ports", "name", "storage"):
            found.leave_out(f"{name}.model.{key}", "the policy has no such setting")


def _folder(path: Path, uri: str, mounts: Mapping[str, Path]) -> Path | None:
    """Return the local folder of a storage URI, or None."""
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        folder = path.parent / unquote(parts.path)
    elif parts.scheme == "pvc" and parts.netloc in mounts:
        folder = mounts[parts.netloc] / unquote(parts.path).lstrip("/")
    else:
        return None
    return folder if folder.is_dir() else None


def _limits(name: str, predictor: Mapping[str, Any], holder: Mapping[str, Any], found: Found) -> None:
    percent = predictor.get("canaryTrafficPercent")
    if isinstance(percent, int) and 0 < percent < 100:
        found.set("rollout.strategy", "canary")
        found.set("rollout.canary", {"steps": [f"{percent}%"]})
    timeout = predictor.get("timeout")
    if isinstance(timeout, int) and timeout > 0:
        found.set("serving.timeout", f"{timeout}s")
    if predictor.get("containerConcurrency"):
        found.leave_out(f"{name}.containerConcurrency", "the gateway limits rows that wait: serving.max_waiting_rows")
    least, most = predictor.get("minReplicas"), predictor.get("maxReplicas")
    if least == 0:
        found.leave_out(f"{name}.minReplicas", "0: a gateway does not scale to zero")
    if any(isinstance(number, int) and number > 1 for number in (least, most)):
        text = f"{least} to {most}: several gateways need stores that they share; see deploy.kubernetes.replicas"
        found.leave_out(f"{name}.replicas", text)
    ports = [port for port in holder.get("ports") or [] if isinstance(port, dict)]
    for port in ports:
        number, key = port.get("containerPort"), "port"
        if str(port.get("name", "")).startswith(("h2c", "grpc")):
            key = "grpc_port"
        if isinstance(number, int):
            found.set(f"serving.{key}", number)
    resources = holder.get("resources") or {}
    cpu = _at(resources, "requests", "cpu") or _at(resources, "limits", "cpu")
    memory = _at(resources, "limits", "memory") or _at(resources, "requests", "memory")
    set_resources(found, name, cpu, memory)
    for key in {*(_at(resources, "limits") or {}), *(_at(resources, "requests") or {})} - {"cpu", "memory"}:
        found.leave_out(f"{name}.resources.{key}", "models serve on CPUs")


def set_resources(found: Found, name: str, cpu: object, memory: object) -> None:
    """Set cores and memory of the gateway: `deploy.kubernetes`, and as many workers as whole cores."""
    if cpu is not None and re.fullmatch(r"\d+m|\d+(\.\d{1,3})?", str(cpu)):
        found.set("deploy.kubernetes.cpu", str(cpu))
        cores = int(str(cpu)[:-1]) / 1000 if str(cpu).endswith("m") else float(str(cpu))
        if cores >= 2:
            found.set("serving.workers", min(math.floor(cores), 64))
    elif cpu is not None:
        found.leave_out(f"{name}.cpu", f"'{cpu}' is no number of cores")
    size = SIZE.fullmatch(str(memory)) if memory is not None else None
    if size is not None:
        found.set("deploy.kubernetes.memory", f"{size[1]}{size[2]}B")
    elif memory is not None:
        found.leave_out(f"{name}.memory", f"'{memory}' is no size such as 2Gi")


def _at(found: object, *path: str) -> Any:
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
