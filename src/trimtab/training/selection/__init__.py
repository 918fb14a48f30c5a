"""How a recipe is chosen and judged before the gates: splits by time, folds, search, calibration, baselines."""
