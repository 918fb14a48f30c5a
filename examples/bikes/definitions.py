"""How many bicycles will be hired in the hour that begins? Asked at its start.

Everything here is known at that time: an hour's rides and its weather count from the hour's end on (known_at).
"""

import numpy as np

import trimtab as tt

rides = tt.FileSource("rides", "data/rides", timestamp="starts_at", known_at="over_at")
weather = tt.FileSource("weather", "data/weather.parquet", timestamp="starts_at", known_at="over_at")

city = tt.Entity("city")
slot = tt.Entity("slot", keys=["city", "hour", "workingday"])

recent = tt.FeatureView(
    "recent",
    entity=city,
    source=rides,
    features=[tt.last("bikers"), tt.mean("bikers", "3h", "1d", "7d")],
    window_by="known_at",  # the last 3 hours that are over, not those that have begun
)
usual = tt.FeatureView(
    "usual",
    entity=slot,  # the same hour on other days
    source=rides,
    features=[tt.mean("bikers", "7d", "28d"), tt.max("bikers", "28d")],
)
conditions = tt.FeatureView(
    "conditions",
    entity=city,
    source=weather,
    features=[tt.last("temperature", "humidity", "wind", "wet")],
    ttl="6h",
)


@tt.on_demand(inputs=["starts_at"])
def season(starts_at):
    """From -1 at the winter solstice to 1 at the summer solstice."""
    days = (starts_at - starts_at.astype("datetime64[Y]")).astype("timedelta64[D]").astype("float64")
    return np.cos((days - 171) / 365.25 * 2 * np.pi)


demand = tt.Model(
    "demand",
    task="regression",
    examples=rides,
    label="bikers",
    features=[recent, usual, conditions, season, "hour", "weekday", "workingday"],
)


@demand.fallback(inputs=["hour", "workingday"])
def typical(hour, workingday):
    """When no model can answer: the mean of January to June in the rush hours, by day and by night."""
    rush = np.isin(hour, [8, 17, 18]) & (workingday == 1)
    return np.select([rush, (hour >= 7) & (hour <= 21)], [260.0, 180.0], 40.0)


@demand.trainer
def train(data: tt.Dataset, params: dict, seed: int):
    """Boosted trees; the seed and the data decide every bit of the model."""
    # imported here, so that the gateway, which only needs the features, starts without it
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=seed, early_stopping=False, **params).fit(data.X, data.y)
