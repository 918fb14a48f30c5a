"""The bundle: the only thing that training hands to serving. Its files, their digests, and its scorer.

An MLflow model folder with these files:

    MLmodel                  MLflow's description: flavours, signature
    bundle.json              Spec: features, task, threshold, versions it came from
    model.onnx               the graph that serves; input "X": float32 (rows, features)
    model.skops              the fitted estimator, readable without unpickling
    code/*.py                the project's Python files as they were
    reference/windows.json   profiles of the reference windows, for monitoring
    reference/rows.parquet   some real rows with their scores, for parity and performance checks
    gate_report.json         what the gates said
    requirements.txt         the packages it was made with
    python_env.yaml          the same for MLflow: Python and requirements.txt
    MANIFEST.json            SHA-256 of every other file; its own SHA-256 is the bundle's digest
"""

from trimtab.bundle.manifest import MANIFEST, verify, write_manifest
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, read_spec, write_spec

__all__ = ["MANIFEST", "Scorer", "Spec", "read_spec", "verify", "write_manifest", "write_spec"]
