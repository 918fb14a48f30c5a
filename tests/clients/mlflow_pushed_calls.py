"""What a user of another MLflow server does with what a project pushed: NAME MODEL. Runs without Trimtab."""

# mypy: ignore-errors
# an environment of its own, in which mypy does not run

import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient


def main(name: str, model: str) -> None:
    """Load the champion by its alias, and read its run."""
    client = MlflowClient()
    version = client.get_model_version_by_alias(name, "champion")
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED", run.info.status
    assert run.data.params["max_iter"] == "8", run.data.params
    assert run.inputs.dataset_inputs[0].dataset.name == model
    rows = pd.DataFrame({"amount": np.linspace(1.0, 900.0, 200), "age": 40.0})
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    scores = loaded.predict(rows)
    assert scores.shape == (200,)
    assert scores[-1] > scores[0]
    versions = client.search_model_versions(f"name = '{name}'")
    assert len(versions) == 1, versions
    print("pushed:", name, version.version, {key: round(value, 3) for key, value in list(run.data.metrics.items())[:3]})


main(*sys.argv[1:])
