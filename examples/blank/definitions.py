"""Your project: where the rows are, what to predict from them, and how to train.

Change the names marked 1 to 5 into yours, then ask `trimtab doctor` what comes next. All that can stand in this file is
in docs/definitions.md.
"""

import trimtab as tt

# 1. Your file: Parquet or CSV, a folder of such files, or a glob, from this folder on.
# 2. Its columns of time: `timestamp` is the time of the request, `known_at` the time at which the label became
#    known. Leave known_at out if the label is known at once; then no view may read this source.
examples = tt.FileSource("examples", "data/examples.parquet", timestamp="timestamp", known_at="known_at")

# Features of the past, computed the same way for training and for each request. To use them, take the # away, name the
# column of the row's customer, and add `history` to the features below.
# customer = tt.Entity("customer", keys=["customer_id"])
# history = tt.FeatureView(
#     "history", entity=customer, source=examples, features=[tt.count("1d"), tt.mean("label", "7d", "28d")], ttl="90d"
# )

# 3. What to predict: "binary" (0 or 1), or "regression" (a number).
# 4. The column with the outcome, in the same file.
# 5. The columns that a request brings: numbers or booleans that are known at the time of the request.
model = tt.Model("model", task="binary", examples=examples, label="label", features=["x1", "x2"])


@model.trainer
def train(data: tt.Dataset, params: dict, seed: int):
    """Fit an estimator with scikit-learn's methods; params are those of trimtab.yaml."""
    # imported here, so that the gateway, which only needs the features, starts without it
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    estimators = {"binary": HistGradientBoostingClassifier, "regression": HistGradientBoostingRegressor}
    return estimators[model.task](random_state=seed, **params).fit(data.X, data.y)
