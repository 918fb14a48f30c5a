"""What serves: revisions, MLflow's aliases, and what becomes of a retrained bundle."""
