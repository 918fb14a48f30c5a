"""What a user of MLflow does with a project of Trimtab: MODEL RUN. Runs with the whole of mlflow, without Trimtab."""

# mypy: ignore-errors
# an environment of its own, in which mypy does not run

import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient


def main(name: str, run: str) -> None:
    """Read the run, its model, its plots and data set; load and evaluate the champion by each of its addresses."""
    client = MlflowClient()
    found = client.get_run(run)
    assert found.info.status == "FINISHED"
    assert found.data.params["max_iter"] == "8", found.data.params
    assert found.data.tags["trimtab.verdict"] in ("pass", "warn")
    assert found.inputs.dataset_inputs[0].dataset.name == "risk"
    searched = mlflow.search_runs(
        experiment_ids=[found.info.experiment_id], filter_string="params.max_iter = '8' and metrics.roc_auc > .5"
    )
    assert run in set(searched.run_id)

    logged = client.get_logged_model(found.outputs.model_outputs[0].model_id)
    assert str(logged.status) == "LoggedModelStatus.READY" or logged.status == "READY", logged.status
    assert {metric.key for metric in logged.metrics} >= {"roc_auc", "log_loss"}
    models = mlflow.search_logged_models(experiment_ids=[found.info.experiment_id], output_format="list")
    assert logged.model_id in {model.model_id for model in models}

    version = client.get_model_version_by_alias(name, "champion")
    served = client.get_logged_model(client.get_run(version.run_id).outputs.model_outputs[0].model_id)
    assert "mlflow.modelVersions" in served.tags, served.tags

    rows = pd.DataFrame({"amount": np.linspace(1.0, 900.0, 200), "age": 40.0})
    for uri in (f"models:/{name}@champion", f"models:/{name}/{version.version}", f"models:/{served.model_id}"):
        model = mlflow.pyfunc.load_model(uri)
        assert model.metadata.signature.inputs.input_names() == ["amount", "age"]
        scores = model.predict(rows)
        assert scores.shape == (200,), uri
        assert scores[-1] > scores[0], uri

    labelled = rows.assign(bad=(rows.amount > 300).astype(int))
    result = mlflow.models.evaluate(
        f"models:/{name}@champion",
        labelled,
        targets="bad",
        model_type="classifier",
        model_config={"output": "label"},
        evaluator_config={"log_model_explainability": False},
    )
    assert result.metrics["accuracy_score"] > 0.7, result.metrics
    needed = Path(mlflow.pyfunc.get_model_dependencies(f"models:/{name}@champion")).read_text(encoding="utf-8")
    assert "onnxruntime==" in needed, needed
    print("client:", mlflow.__version__, {key: round(float(value), 3) for key, value in result.metrics.items()})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
