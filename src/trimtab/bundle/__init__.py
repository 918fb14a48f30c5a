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
