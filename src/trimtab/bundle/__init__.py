"""The bundle, a packaged model that can serve: its files, their digests, and its scorer.

An MLflow model folder with these files:

    MLmodel                  MLflow's description: flavours, signature
    bundle.json              Spec: features, task, threshold, runtime, calibration, versions it came from
    model.onnx               the graph that serves; input "X": float32 (rows, features)
    model.lgb                LightGBM's own text; it explains the graph's scores, or serves when there is no graph
    model.ubj                the same for XGBoost
    model.skops              a fitted estimator of scikit-learn, readable without unpickling; it serves without a graph
    code/*.py                the project's Python files at the time of packaging
    reference/windows.json   profiles of the reference windows, for monitoring
    reference/rows.parquet   some real rows with their scores, for parity and performance checks; typed features packed
    reference/background.npy some real rows, float32, which explanations compare with
    gate_report.json         the results of the gates
    requirements.txt         the packages that the model needs, at the versions of training
    environment.txt          all packages of the training environment
    python_env.yaml          Python and requirements.txt for MLflow
    mlflow/*.py              loads the bundle for MLflow without Trimtab
    MANIFEST.json            SHA-256 of every other file; its own SHA-256 is the bundle's digest
    model.sig                signature over all files, when the bundle was signed

The library of a runtime is imported when a bundle that needs it is opened.
"""
