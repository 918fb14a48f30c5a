"""How far what serves is from the estimator itself, for every kind of estimator and task."""
