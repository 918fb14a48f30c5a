"""Reads models and settings of BentoML: a model of its store, a store, an exported .bentomodel or .bento, a bentofile.

A model is read when its columns are known: an MLflow model, or a file of LightGBM, XGBoost or CatBoost, which name
their features. Nothing is unpickled, and no Python of the service is run.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from trimtab.app.exchange.found_models import Found
from trimtab.app.exchange.kserve_import import set_resources
from trimtab.app.exchange.project_draft import model_name
from trimtab.bundle.mlmodel import MLMODEL
from trimtab.errors import DataError, UsageError

MODEL, BENTO, BENTOFILE, LATEST = "model.yaml", "bento.yaml", "bentofile.yaml", "latest"
MLFLOW = "mlflow_model"
"""Folder of a model that BentoML imported from MLflow."""
FILES = {"lightgbm": "saved_model.txt", "xgboost": "saved_model.ubj", "catboost": "saved_model.cbm"}
"""By framework: the file that BentoML saves, whose features have names."""
PICKLED = "is a pickle without columns; save it with mlflow.sklearn.save_model(..., signature=...), and import that"
SECONDS = re.compile(r"\d+")


def read_bento(path: Path, scratch: Path) -> Found:
    """Read what a file or a folder holds. scratch: an empty folder for what is unpacked and converted.

    Raises UsageError for a path that holds nothing of BentoML, DataError for a file that cannot be read.
    """
    found = Found(system=f"bento:{path.name}")
    if path.is_file() and path.suffix in (".bentomodel", ".bento"):
        path = _unpacked(path, scratch / "unpacked")
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        _settings(path, found)
        return found
    if not path.is_dir():
        raise UsageError(f"{path}: not there; expected a model, a store, a .bentomodel, a .bento or a {BENTOFILE}")
    for name in (BENTO, BENTOFILE):
        if (path / name).is_file():
            _settings(path / name, found)
    for folder in _models(path):
        _model(folder, found, scratch / "models")
    if not (found.models or found.policy or found.left_out):
        raise UsageError(f"{path}: holds no {MODEL}, {BENTO} or {BENTOFILE} of BentoML")
    return found


def _unpacked(path: Path, place: Path) -> Path:
    try:
        with tarfile.open(path) as archive:
            archive.extractall(place, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}") from None
    return place


def _models(path: Path) -> Iterator[Path]:
    """Yield the folders of models: this one, or in a store or a Bento the newest version of each."""
    if (path / MODEL).is_file():
        yield path
        return
    for home in sorted(each.parent for each in path.rglob(LATEST) if each.is_file()):
        folder = home / (home / LATEST).read_text(encoding="utf-8").strip()
        if (folder / MODEL).is_file():
            yield folder


def _model(folder: Path, found: Found, scratch: Path) -> None:
    about = _read(folder / MODEL)
    name, version = str(about.get("name") or folder.parent.name), str(about.get("version") or folder.name)
    source = f"{name}:{version}"
    framework = str(about.get("module") or "").rpartition(".")[2]
    place = scratch / model_name(name)
    if (folder / MLFLOW / MLMODEL).is_file():
        found.models[model_name(name)] = folder / MLFLOW
    elif framework in FILES and (folder / FILES[framework]).is_file():
        try:
            _as_mlflow(folder / FILES[framework], framework, place)
        except Exception as error:  # a border: the libraries have errors of their own
            found.leave_out(source, f"{FILES[framework]} cannot be read: {error}")
            return
        found.models[model_name(name)] = place
    else:
        files = ", ".join(sorted(each.name for each in folder.iterdir() if each.name != MODEL)) or "nothing"
        why = PICKLED if framework == "sklearn" else f"module {framework or 'unknown'} has no importer"
        found.leave_out(source, f"{files}: {why}")
        return
    for key in ("labels", "metadata"):
        if about.get(key):
            found.leave_out(f"{source}.{key}", f"{msgspec.json.encode(about[key]).decode()}: kept in BentoML alone")


def _as_mlflow(file: Path, framework: str, place: Path) -> None:
    """Write a folder as MLflow does, of a file whose features have names. Raises DataError without names."""
    if framework == "lightgbm":
        import lightgbm

        names = list(lightgbm.Booster(model_file=str(file)).feature_name())
    elif framework == "xgboost":
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(str(file))
        names = list(booster.feature_names or ())
    else:
        import catboost

        names = catboost.CatBoost().load_model(str(file), format="cbm").feature_names_
    if not names:
        raise DataError("its features have no names")
    place.mkdir(parents=True)
    (place / file.name).write_bytes(file.read_bytes())
    columns = [{"type": "double", "name": name, "required": True} for name in names]
    described = {
        "flavors": {framework: {"data": file.name}},
        "signature": {"inputs": msgspec.json.encode(columns).decode(), "outputs": '[{"type": "double"}]'},
    }
    (place / MLMODEL).write_text(yaml.safe_dump(described), encoding="utf-8")


def _settings(path: Path, found: Found) -> None:
    """Read the settings of a service: of a bentofile those that it has, of a built Bento those of all services."""
    about = _read(path)
    services = about.get("services")
    for service in services if isinstance(services, list) else ():
        if isinstance(service, dict):
            _service(str(service.get("name", "service")), service.get("config") or {}, found)
    for key, why in (
        ("docker", "images are made by trimtab export docker"),
        ("image", "images are made by trimtab export docker"),
        ("python", "packages are those of the model's own requirements.txt"),
        ("conda", "packages are those of the model's own requirements.txt"),
        ("envs", "a setting of the policy names its variables"),
        ("runners", "the gateway runs models itself"),
    ):
        if about.get(key):
            found.leave_out(f"{path.name}: {key}", why)
    routes = (about.get("schema") or {}).get("routes")
    for route in routes if isinstance(routes, list) else ():
        if isinstance(route, dict) and route.get("batchable"):
            found.leave_out(f"{path.name}: {route.get('name')}", "batchable: the gateway forms batches by itself")
    if about.get("service"):
        found.leave_out(f"{path.name}: service", f"{about['service']}: Python of a service is not run")


def _service(name: str, config: Mapping[str, Any], found: Found) -> None:
    resources, traffic = config.get("resources") or {}, config.get("traffic") or {}
    set_resources(found, name, resources.get("cpu"), resources.get("memory"))
    for key in {*resources} - {"cpu", "memory"}:
        found.leave_out(f"{name}.resources.{key}", "models serve on CPUs")
    for key, value in traffic.items():
        if key == "timeout" and SECONDS.fullmatch(str(value)):
            found.set("serving.timeout", f"{value}s")
        else:
            found.leave_out(f"{name}.traffic.{key}", f"{value}: the gateway limits rows that wait")
    workers = config.get("workers")
    if isinstance(workers, int) and 1 <= workers <= 64:
        found.set("serving.workers", workers)
    elif workers is not None:
        found.leave_out(f"{name}.workers", f"{workers}: expected a number from 1 to 64")
    port = (config.get("http") or {}).get("port")
    if isinstance(port, int):
        found.set("serving.port", port)
    for key in {*config} - {"resources", "traffic", "workers", "http"}:
        found.leave_out(f"{name}.{key}", "the policy has no such setting")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected keys such as name and version")
    return found
