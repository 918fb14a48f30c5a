"""Will this flight arrive more than fifteen minutes late? Asked at its scheduled departure.

Everything here is known at that time: outcomes of other flights count only once they have landed
(known_at), and an hour's weather only once it is published.
"""

import numpy as np

import trimtab as tt

flights = tt.FileSource("flights", "data/flights", timestamp="scheduled_at", known_at="landed_at")
weather = tt.FileSource("weather", "data/weather.parquet", timestamp="observed_at", known_at="published_at")

carrier = tt.Entity("carrier", keys=["carrier"])
origin = tt.Entity("origin", keys=["origin"])
route = tt.Entity("route", keys=["origin", "dest"])

punctuality = tt.FeatureView(
    "punctuality",
    entity=carrier,
    source=flights,
    features=[tt.count("1d"), tt.mean("late", "1d", "7d"), tt.mean("dep_delay", "1d")],
    every="1h",
)
congestion = tt.FeatureView(
    "congestion",
    entity=origin,
    source=flights,
    features=[tt.count("6h"), tt.mean("late", "6h", "1d"), tt.mean("dep_delay", "6h"), tt.max("dep_delay", "6h")],
    every="1h",
)
history = tt.FeatureView(
    "history",
    entity=route,
    source=flights,
    features=[tt.mean("late", "28d"), tt.mean("arr_delay", "28d")],
    every="1d",
)
conditions = tt.FeatureView(
    "conditions",
    entity=origin,
    source=weather,
    features=[tt.last("temp", "humid", "wind_speed", "precip", "visib")],
    ttl="6h",
)

HOUR = np.timedelta64(1, "h")


def nth_sunday(years, month, n):
    """Return the n-th Sunday of a month in each year, as datetime64[D]."""
    first = ((years - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)).astype("datetime64[D]")
    weekday = (first.astype("int64") + 4) % 7  # 1970-01-01 was a Thursday; Sunday is 0
    return first + ((7 - weekday) % 7 + 7 * (n - 1))


YEARS = np.arange(2007, 2038)  # the years with today's rule
CLOCK_CHANGES = np.sort(np.concatenate([nth_sunday(YEARS, 3, 2) + 7 * HOUR, nth_sunday(YEARS, 11, 1) + 6 * HOUR]))


@tt.on_demand(inputs=["scheduled_at"], outputs=["hour", "weekday"])
def calendar(scheduled_at):
    """Local hour and weekday in New York, summer time included."""
    summer = np.searchsorted(CLOCK_CHANGES, scheduled_at, side="right") % 2
    hours = scheduled_at.astype("int64") / 3_600_000_000 - 5 + summer
    return {"hour": hours % 24, "weekday": (hours // 24 + 3) % 7}


delay = tt.Model(
    "delay",
    task="binary",
    examples=flights,
    label="late",
    features=[punctuality, congestion, history, conditions, calendar, "distance", "planned_minutes"],
)


@delay.fallback(inputs=["scheduled_at"])
def usual(scheduled_at):
    """When no model can answer: delays pile up over a day. Shares of late flights in January and February."""
    hour = calendar(scheduled_at)["hour"]
    return np.select([hour < 10, hour < 14], [0.17, 0.20], 0.27)


@delay.trainer
def train(data: tt.Dataset, params: dict, seed: int):
    """Boosted trees; the seed and the data decide every bit of the model."""
    # imported here, so that the gateway, which only needs the features, starts without it
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **params).fit(data.X, data.y)
