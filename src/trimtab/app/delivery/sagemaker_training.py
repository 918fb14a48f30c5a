"""SageMaker's contract of training containers: `train` is run, with its input in folders, and its results go to others.

    input/config/hyperparameters.json     strings; parameters of the trainer, and `trimtab_*` below
    input/config/inputdataconfig.json     the channels
    input/config/resourceconfig.json      the hosts
    input/data/CHANNEL                    files of the source CHANNEL; `project` and `trimtab` are others
    model                                 gets the bundle, which SageMaker packs as model.tar.gz
    output/data                           gets evaluation.json, gates.md and gates.junit.xml
    output/failure                        gets the reason of a failure

The exit code is 0 when a bundle was made. Channel `project` holds the project folder (else the working directory is
it), channel `trimtab` its state, such as a file system that is mounted for reading and writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trimtab.app.delivery.lone_training import LoneTraining
from trimtab.clock import parse_time
from trimtab.errors import UsageError, nearest

PROJECT, STATE = "project", "trimtab"
"""Channels that are no sources."""
OWN = "trimtab_"
PLATFORMS_OWN = "sagemaker_"
"""Prefix of the hyperparameters that SageMaker's SDK adds for itself."""
GATES = ("refuse", "record")
FAILURE_BYTES = 1024
"""SageMaker shows so much of the file `failure`."""


class Channel(msgspec.Struct, frozen=True):
    """One channel of inputdataconfig.json, as far as it matters here."""

    mode: str = msgspec.field(default="File", name="TrainingInputMode")


class Resources(msgspec.Struct, frozen=True):
    """resourceconfig.json, as far as it matters here."""

    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SageMakerJob:
    """What a training job asks for. project: None without that channel. refuse: a failing gate fails the job."""

    training: LoneTraining
    project: Path | None
    refuse: bool


def is_training(base: Path) -> bool:
    """Return True if SageMaker has laid out its folders for a training."""
    return (base / "input" / "config").is_dir()


def read_job(base: Path) -> SageMakerJob:
    """Read what SageMaker has written. Raises UsageError for what cannot be trained from, naming the file."""
    config = base / "input" / "config"
    hosts = _read(config / "resourceconfig.json", Resources, Resources()).hosts
    if len(hosts) > 1:
        raise UsageError(f"{config / 'resourceconfig.json'}: {len(hosts)} hosts; expected 1, InstanceCount: 1")
    channels = _read(config / "inputdataconfig.json", dict[str, Channel], {})
    for name, channel in channels.items():
        if channel.mode == "Pipe":
            raise UsageError(f"{config / 'inputdataconfig.json'}: channel '{name}' is of mode Pipe; expected File")
    folders = {path.name: path for path in sorted((base / "input" / "data").glob("*")) if path.is_dir()}
    file = config / "hyperparameters.json"
    given = {
        name: value for name, value in _read(file, dict[str, str], {}).items() if not name.startswith(PLATFORMS_OWN)
    }
    own = {name.removeprefix(OWN): value for name, value in given.items() if name.startswith(OWN) and value}
    known = ("model", "as_of", "gates")
    for name in own:
        if name not in known:
            raise UsageError(
                f"{file}: '{OWN}{name}' is not known.{nearest(OWN + name, [OWN + each for each in known])}"
            )
    if own.get("gates", GATES[0]) not in GATES:
        raise UsageError(f"{file}: {OWN}gates is '{own['gates']}'.{nearest(own['gates'], GATES)}")
    try:
        as_of = parse_time(own["as_of"]) if "as_of" in own else None
    except ValueError:
        raise UsageError(f"{file}: {OWN}as_of: '{own['as_of']}' is no time; expected such as 2013-03-01") from None
    training = LoneTraining(
        bundle=base / "model",
        report=base / "output" / "data",
        channels={name: path for name, path in folders.items() if name not in (PROJECT, STATE)},
        params={name: _value(text) for name, text in given.items() if not name.startswith(OWN)},
        state=folders.get(STATE),
        model=own.get("model"),
        as_of=as_of,
    )
    return SageMakerJob(training=training, project=folders.get(PROJECT), refuse=own.get("gates") != "record")


def write_failure(base: Path, text: str) -> None:
    """Write why a training failed."""
    (base / "output").mkdir(parents=True, exist_ok=True)
    cut = text.encode()[:FAILURE_BYTES].decode(errors="ignore")
    (base / "output" / "failure").write_text(cut, encoding="utf-8")


def _read(path: Path, kind: Any, otherwise: Any) -> Any:
    if not path.is_file():
        return otherwise
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: {error}") from None


def _value(text: str) -> Any:
    """Return a hyperparameter: SageMaker hands all of them over as texts."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def metric_lines(metrics: Mapping[str, float], *, passed: bool) -> list[str]:
    """Return lines that the metric definitions of a training job read, such as `trimtab_roc_auc=0.71;`."""
    found = {**metrics, "passed": float(passed)}
    return [f"trimtab_{name}={value:.6g};" for name, value in found.items()]
