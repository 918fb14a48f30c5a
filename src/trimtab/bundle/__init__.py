"""The bundle: the only thing that training hands to serving. Its files, their digests, and its scorer.

An MLflow model folder with these files:

    MLmodel                  MLflow's description: flavours, signature
    bundle.json              Spec: features, task, threshold, runtime, calibration, versions it came from
    model.onnx               the graph that serves; input "X": float32 (rows, features)
    model.lgb                LightGBM's own text; explains the graph's scores, or serves when there is no graph
    model.ubj                the same for XGBoost
    model.skops              a fitted estimator of scikit-learn, readable without unpickling; the same
    code/*.py                the project's Python files as they were
    reference/windows.json   profiles of the reference windows, for monitoring
    reference/rows.parquet   some real rows with their scores, for parity and performance checks
    reference/background.npy some real rows, float32, that explanations compare with
    gate_report.json         what the gates said
    requirements.txt         the packages that the model needs, at the versions it was made with
    environment.txt          all packages that were there when it was made
    python_env.yaml          Python and requirements.txt for MLflow
    mlflow/*.py              loads the bundle for MLflow, which then needs no Trimtab
    MANIFEST.json            SHA-256 of every other file; its own SHA-256 is the bundle's digest
    model.sig                signature over all of them, when the bundle was signed

Runtimes are imported when a bundle that needs them is opened, and `describe` when it is first used: a worker needs
neither YAML nor other processes to load a bundle.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.bundle.calibration import Calibration, calibrate
    from trimtab.bundle.description import describe
    from trimtab.bundle.explanations import Contributions, Explainer, open_explainer
    from trimtab.bundle.limits import InputCheck, ask_scorer
    from trimtab.bundle.manifest import MANIFEST, verify, write_manifest
    from trimtab.bundle.runtimes.aside import open_aside
    from trimtab.bundle.runtimes.process import ProcessFailed
    from trimtab.bundle.scorer import Scorer, open_scorer
    from trimtab.bundle.spec import (
        BACKGROUND,
        GRAPH,
        LIGHTGBM_FILE,
        SKOPS_FILE,
        XGBOOST_FILE,
        Limits,
        Runtime,
        Spec,
        Task,
        read_spec,
        write_spec,
    )

_HOMES = {
    "BACKGROUND": "spec",
    "GRAPH": "spec",
    "LIGHTGBM_FILE": "spec",
    "Limits": "spec",
    "MANIFEST": "manifest",
    "SKOPS_FILE": "spec",
    "XGBOOST_FILE": "spec",
    "Calibration": "calibration",
    "Contributions": "explanations",
    "InputCheck": "limits",
    "ask_scorer": "limits",
    "Explainer": "explanations",
    "ProcessFailed": "runtimes.process",
    "Runtime": "spec",
    "Scorer": "scorer",
    "Spec": "spec",
    "Task": "spec",
    "calibrate": "calibration",
    "describe": "description",
    "open_aside": "runtimes.aside",
    "open_explainer": "explanations",
    "open_scorer": "scorer",
    "read_spec": "spec",
    "verify": "manifest",
    "write_manifest": "manifest",
    "write_spec": "spec",
}

__all__ = [
    "BACKGROUND",
    "GRAPH",
    "LIGHTGBM_FILE",
    "MANIFEST",
    "SKOPS_FILE",
    "XGBOOST_FILE",
    "Calibration",
    "Contributions",
    "Explainer",
    "InputCheck",
    "Limits",
    "ProcessFailed",
    "Runtime",
    "Scorer",
    "Spec",
    "Task",
    "ask_scorer",
    "calibrate",
    "describe",
    "open_aside",
    "open_explainer",
    "open_scorer",
    "read_spec",
    "verify",
    "write_manifest",
    "write_spec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
