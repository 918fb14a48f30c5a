"""Records runs in MLflow, and finds them again by the key of the training.

A run has the tag trimtab.key. A FINISHED run with the key replaces a second training. A run with the key that is still
RUNNING when a training starts was left over by a process that died, and is marked KILLED. The Run record is written to
tags before the run becomes FINISHED, so every finished run has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab import settings
from trimtab.clock import Clock, to_micros
from trimtab.errors import StoreError, UsageError
from trimtab.records.llm import EvalSetVersion
from trimtab.records.training import DatasetVersion, Run
from trimtab.training.mlflow_client import load_mlflow, open_client

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

KEY = "trimtab.key"
GROUP = "trimtab.search"
"""Tag of nested runs: the study that they are trials of."""
PARENT = "mlflow.parentRunId"
RECORD = "trimtab.run."
PLOTS = "plots"
"""Folder of a run's artifacts."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag by which MLflow's pages show an experiment as one of models, not of language models."""
TAG_CHARACTERS = 4000
"""Longest piece of a record in one tag; MLflow accepts 8000 characters, older servers 5000."""
PAGE = 1000
PARAM_CHARACTERS = 500
"""Longest value of a parameter that every MLflow backend stores; the record has the full value."""


class Tracking:
    """Experiments and runs of one project.

    Args:
        uri: SQLAlchemy URL of a tracking database, or http(s) address of a server.
        project: name of the project; experiments are named `PROJECT/MODEL`, so projects can share a server.
        artifacts: folder or URI for files of runs; ignored for a server, which stores them itself.
        cache: folder of the database template.
        clock: gives the times of runs.
    """

    def __init__(self, uri: str, *, project: str, artifacts: Path | str, cache: Path, clock: Clock) -> None:
        self.client: MlflowClient = open_client(uri, cache)
        self.project = project
        self._clock = clock
        root = artifacts.absolute().as_uri() if isinstance(artifacts, Path) else artifacts
        self._artifacts = None if uri.startswith("http") else root

    def experiment_name(self, model: str) -> str:
        """Return the name of the experiment of a model."""
        return f"{self.project}/{model}"

    def experiment(self, model: str) -> str:
        """Return the id of the experiment of a model; create it if it does not exist."""
        name = self.experiment_name(model)
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = f"{self._artifacts}/{model}" if self._artifacts else None
        try:
            return str(self.client.create_experiment(name, artifact_location=location, tags=KIND))
        except load_mlflow().exceptions.MlflowException:
            found = self.client.get_experiment_by_name(name)  # another process has created it
            if found is None:
                raise
            return str(found.experiment_id)

    def finished(self, model: str, key: str) -> Run | None:
        """Return the record of the run that FINISHED with a key, or None."""
        runs = self._runs(model, key, "FINISHED")
        return _read_record(runs[0]) if runs else None

    def matching(self, models: Iterable[str], wanted: str) -> set[str]:
        """Return the ids of the runs of some models that match a filter in MLflow's syntax. Raises UsageError."""
        names = [self.experiment_name(model) for model in models]
        known = [self.client.get_experiment_by_name(name) for name in names]
        ids = [str(experiment.experiment_id) for experiment in known if experiment is not None]
        found, token, more = set[str](), None, bool(ids)
        while more:
            try:
                page = self.client.search_runs(ids, wanted, max_results=PAGE, page_token=token)
            except load_mlflow().exceptions.MlflowException as error:
                raise UsageError(str(error.message)) from None
            found |= {str(run.info.run_id) for run in page}
            token = page.token
            more = bool(token)
        return found

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run; nothing happens when the run is not there any more."""
        for name, text in tags.items():
            try:
                self.client.set_tag(run, name, text)
            except load_mlflow().exceptions.MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise

    def plots(self, run: str) -> tuple[str, ...]:
        """Return the addresses of a run's plots; none when the run is not there any more."""
        try:
            root = self.client.get_run(run).info.artifact_uri
            return tuple(f"{root}/{file.path}" for file in self.client.list_artifacts(run, PLOTS))
        except load_mlflow().exceptions.MlflowException:
            return ()

    def begin(self, model: str, key: str, *, name: str, tags: Mapping[str, str]) -> str:
        """Start a run and return its id. Runs with the key that are still RUNNING are marked KILLED."""
        for left in self._runs(model, key, "RUNNING"):
            self._end(left.info.run_id, "KILLED")
        known = {"mlflow.user": settings.login(), "mlflow.source.type": "PROJECT", **tags, KEY: key}
        experiment = self.experiment(model)
        run = self.client.create_run(experiment, start_time=self._milliseconds(), run_name=name, tags=known)
        return str(run.info.run_id)

    @contextmanager
    def ending(self, run: str) -> Iterator[None]:
        """Mark a run FAILED if the block raises an error, KILLED if it is interrupted."""
        try:
            yield
        except Exception as error:
            self.client.set_tag(run, "trimtab.error", str(error)[:TAG_CHARACTERS])
            self._end(run, "FAILED")
            raise
        except BaseException:
            self._end(run, "KILLED")
            raise

    def finish(
        self,
        record: Run,
        dataset: DatasetVersion | EvalSetVersion,
        *,
        metrics: Mapping[str, float],
        requirements: str,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write record, metrics, parameters and tags of a run in one batch, and mark it FINISHED."""
        entities = load_mlflow().entities
        at = self._milliseconds()
        params = params_of(record)
        pieces = _pieces(msgspec.json.encode(record).decode())
        self.client.log_batch(
            record.id,
            metrics=[entities.Metric(name, float(value), at, 0) for name, value in metrics.items()],
            params=[entities.Param(name, text) for name, text in params.items()],
            tags=[
                *(entities.RunTag(name, text[:TAG_CHARACTERS]) for name, text in (tags or {}).items() if text),
                *(entities.RunTag(f"{RECORD}{i}", piece) for i, piece in enumerate(pieces)),
            ],
        )
        self.client.log_inputs(record.id, datasets=[_dataset_input(dataset)])
        self.client.log_text(record.id, requirements, "requirements.txt")
        self._end(record.id, "FINISHED")

    def children(self, model: str, group: str) -> dict[str, MlflowRun]:
        """Return the finished nested runs of a group, such as the trials of a search, by their key."""
        wanted = f"tags.`{GROUP}` = '{group}' and attributes.status = 'FINISHED'"
        runs = self.client.search_runs([self.experiment(model)], wanted)
        return {run.data.tags[KEY]: run for run in runs if PARENT in run.data.tags}

    def adopt(self, run: MlflowRun, parent: str) -> bool:
        """Nest a finished run under another parent, and return True, unless its own has finished."""
        own = run.data.tags.get(PARENT)
        if own != parent and own is not None and self.client.get_run(own).info.status == "FINISHED":
            return False
        self.client.set_tag(run.info.run_id, PARENT, parent)
        return True

    def write_child(
        self,
        parent: str,
        model: str,
        key: str,
        *,
        group: str,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, Sequence[float]],
        tags: Mapping[str, str],
    ) -> None:
        """Write a run that has ended, nested under another one. metrics: values of each, one a step."""
        entities = load_mlflow().entities
        run = self.begin(model, key, name=name, tags={**tags, PARENT: parent, GROUP: group})
        at = self._milliseconds()
        self.client.log_batch(
            run,
            metrics=[
                entities.Metric(metric, float(value), at, step)
                for metric, values in metrics.items()
                for step, value in enumerate(values)
            ],
            params=[entities.Param(each, text) for each, text in _named(params).items()],
        )
        self._end(run, "FINISHED")

    def _runs(self, model: str, key: str, status: str) -> list[MlflowRun]:
        if "'" in key:
            raise StoreError(f"the key {key!r} has an apostrophe, which MLflow cannot search for")
        wanted = f"tags.`{KEY}` = '{key}' and attributes.status = '{status}'"
        return list(self.client.search_runs([self.experiment(model)], wanted, order_by=["attributes.start_time ASC"]))

    def _end(self, run: str, status: str) -> None:
        self.client.set_terminated(run, status=status, end_time=self._milliseconds())

    def _milliseconds(self) -> int:
        return to_micros(self._clock.now()) // 1000


def params_of(record: Run) -> dict[str, str]:
    """Return the parameters of a run as MLflow keeps them: text, by the names of the policy, and the seed."""
    return {**_named(record.params), "seed": str(record.seed)}


def _named(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as text, by name; one that is called `seed` gives way to the seed of the run."""
    return {("param.seed" if name == "seed" else name): str(v)[:PARAM_CHARACTERS] for name, v in params.items()}


def _pieces(text: str) -> list[str]:
    return [text[at : at + TAG_CHARACTERS] for at in range(0, len(text), TAG_CHARACTERS)]


def _read_record(run: MlflowRun) -> Run:
    tags = run.data.tags
    pieces = sorted((int(name.removeprefix(RECORD)), text) for name, text in tags.items() if name.startswith(RECORD))
    try:
        return msgspec.json.decode("".join(text for _, text in pieces), type=Run)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise StoreError(f"MLflow run {run.info.run_id} is FINISHED but its record cannot be read: {error}") from None


def _dataset_input(version: DatasetVersion | EvalSetVersion) -> Any:
    entities = load_mlflow().entities
    source: dict[str, Any]
    about: dict[str, int]
    if isinstance(version, EvalSetVersion):
        name, digest, context = version.name, version.hash, "evaluation"
        source, about = {"path": version.path}, {"items": version.items, "clusters": version.clusters}
    else:
        name, digest, context = version.model, version.id, "training"
        source = {"path": version.path, "tables": version.tables}
        about = {"rows": version.rows, "labelled": version.labelled, "holdout_rows": version.holdout_rows}
    dataset = entities.Dataset(
        name=name,
        digest=digest[:36],  # the most that MLflow stores
        source_type="trimtab",
        source=msgspec.json.encode(source).decode(),
        profile=msgspec.json.encode(about).decode(),
    )
    return entities.DatasetInput(dataset, [entities.InputTag("mlflow.data.context", context)])
