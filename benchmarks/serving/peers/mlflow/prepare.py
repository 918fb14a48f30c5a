"""Save the model as MLflow saves models: python prepare.py MODEL_FOLDER native|onnx FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import mlflow
import onnx

if __name__ == "__main__":
    model, runtime, folder = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if runtime == "onnx":
        mlflow.onnx.save_model(onnx.load(model / "model.onnx"), folder, pip_requirements=[])
    else:
        mlflow.sklearn.save_model(
            joblib.load(model / "model.joblib"),
            folder,
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
