"""Is this card payment fraud? Asked while the customer waits at the terminal.

What was paid before comes as a stream and counts a moment after it happened. An outcome is known weeks later, when a
payment can no longer be disputed; reported frauds count in features from the day of the report on.
"""

import numpy as np

import trimtab as tt

transactions = tt.KafkaSource("transactions", "card-payments", timestamp="authorised_at", known_at="posted_at")
chargebacks = tt.FileSource("chargebacks", "data/chargebacks.parquet", timestamp="reported_at", key=["transaction"])
outcomes = tt.FileSource(
    "outcomes", "data/outcomes", timestamp="authorised_at", known_at="settled_at", key=["transaction"]
)

card = tt.Entity("card")
terminal = tt.Entity("terminal")

spending = tt.FeatureView(
    "spending",
    entity=card,
    source=transactions,
    features=[
        tt.count("1h", "1d", "7d"),
        tt.sum("amount", "1h", "1d"),
        tt.mean("amount", "28d"),
        tt.max("amount", "28d"),
        tt.distinct("terminal", "1d", "28d"),
        tt.mean("distance_km", "28d"),
        tt.count("1d", "28d", where="new_device > 0"),
        tt.count("1d", where="amount < 2"),
        tt.since_last(),
    ],
)
shop = tt.FeatureView(
    "shop",
    entity=terminal,
    source=transactions,
    features=[
        tt.count("1h", "1d"),
        tt.count("1h", where="amount < 2"),
        tt.distinct("card", "1h"),
        tt.mean("amount", "28d"),
    ],
)
reported = tt.FeatureView(
    "reported",
    entity=terminal,
    source=chargebacks,
    features=[tt.count("7d", "28d")],
    every="1h",
)


@tt.on_demand(
    inputs=["authorised_at", "amount", "spending__amount_mean_28d", "spending__amount_sum_1d"],
    outputs=["hour", "times_usual", "times_usual_1d"],
)
def compared(authorised_at, amount, usual, today):
    """The hour of the day, and the amount beside what the card usually pays."""
    hour = authorised_at.astype("int64") / 3_600_000_000 % 24
    return {"hour": hour, "times_usual": amount / usual, "times_usual_1d": np.nan_to_num(today) / usual}


fraud = tt.Model(
    "fraud",
    task="binary",
    examples=outcomes,
    label="fraud",
    features=[spending, shop, reported, compared, "amount", "distance_km", "new_device", "mcc"],
)


@fraud.impact(inputs=["amount"])
def losses(y_true, y_score, amount):
    """Money lost on each payment, in dollars: a fraud that was let through, or an honest customer who was stopped."""
    stopped = y_score * amount > (1 - y_score) * (6 + 0.02 * amount)  # the cheaper choice, as far as the score goes
    return np.where(stopped, np.where(y_true == 1, 1.5, 6 + 0.02 * amount), np.where(y_true == 1, amount, 0.0))


@fraud.fallback(inputs=["amount", "new_device"])
def simple(amount, new_device):
    """When no model can answer: dear payments from a new device are stopped."""
    return np.where((new_device > 0) & (amount > 150), 0.9, 0.01)


@fraud.trainer
def train(data: tt.Dataset, params: dict, seed: int):
    """Boosted trees; the seed and the data decide every bit of the model."""
    # imported here, so that the gateway, which only needs the features, starts without it
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **params).fit(data.X, data.y)
