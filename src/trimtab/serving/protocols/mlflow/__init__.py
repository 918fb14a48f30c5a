"""MLflow's scoring server: POST /invocations."""
