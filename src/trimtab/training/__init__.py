"""Training: frozen datasets, runs in MLflow, ONNX graphs, packaged bundles, the registry.

Heavy libraries (MLflow, scikit-learn and its converters) are imported on first use.
"""
