"""A run's LoggedModel: made once, with metrics of its data set, found from the versions of the registry."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from trimtab.records.training import DatasetVersion, Run
from trimtab.training.logged_model import keep_model
from trimtab.training.registry import Registry, logged_model_of
from trimtab.training.train import Workbench


@pytest.mark.parametrize("refit_of", [None, "judged"])
def test_a_run_gets_one_logged_model_that_holds_the_package(
    bench: Workbench, trained: tuple[Run, Path], version: DatasetVersion, refit_of: str | None
) -> None:
    # given a run of this database, and the folder of its model
    client, folder = bench.tracking.client, trained[1]
    id_ = bench.tracking.begin("delay", "k", name="delay", tags={})
    run = msgspec.structs.replace(trained[0], id=id_, refit_of=refit_of)
    assert logged_model_of(client, id_) is None

    # when its model is kept twice, and registered
    model = keep_model(bench.tracking, run, version, folder, task="binary")
    assert keep_model(bench.tracking, run, version, folder, task="binary") == model
    Registry(client, project="flights").register("delay", run, folder.as_uri(), "digest", "k")

    # then MLflow finds everything from it
    found = client.get_logged_model(model)
    assert logged_model_of(client, id_) == model
    assert (found.name, found.source_run_id, found.model_type) == ("delay", id_, "binary")
    prefix = "judged_" if refit_of else ""
    assert {metric.key: metric.value for metric in found.metrics or ()} == {
        f"{prefix}{name}": value for name, value in run.metrics.items()
    }
    assert {metric.dataset_digest for metric in found.metrics or ()} == {version.id[:36]}
    files = {file.path for file in client.list_logged_model_artifacts(model)}
    assert {"MLmodel", "model.onnx", "requirements.txt"} <= files
    assert json.loads(found.tags["mlflow.modelVersions"]) == [{"name": "flights.delay", "version": 1}]
    assert len(client.search_logged_models([bench.tracking.experiment("delay")])) == 1


def test_a_run_that_is_gone_has_none(bench: Workbench) -> None:
    assert logged_model_of(bench.tracking.client, "0" * 32) is None
