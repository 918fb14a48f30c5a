"""A Feast repository: drivers by number, customers by name, and the rides of both."""

from datetime import timedelta

import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float32, Float64, Int64, String

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64, description="A driver, by number")
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)

hourly = FileSource(
    name="driver_hourly_stats_source",
    path="data/driver_stats.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
    owner="data@example.com",
)
driver_hourly_stats = FeatureView(
    name="driver_hourly_stats",
    entities=[driver],
    ttl=timedelta(days=1),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="conv_rate", dtype=Float32),
        Field(name="acc_rate", dtype=Float32),
        Field(name="avg_daily_trips", dtype=Int64, description="Trips a day, mean of the last month"),
        Field(name="licensed", dtype=Bool),
    ],
    source=hourly,
    description="How drivers did in the last hour",
    owner="drivers@example.com",
    tags={"team": "driver_performance", "tier": "gold"},
)
customer_profile = FeatureView(
    name="customer_profile",
    entities=[customer],
    ttl=timedelta(days=30),
    schema=[Field(name="segment", dtype=String), Field(name="visits", dtype=Int64)],
    source=PushSource(
        name="customer_pushes",
        batch_source=FileSource(
            name="customer-profiles", path="data/customers.parquet", timestamp_field="event_timestamp"
        ),
    ),
)
last_ride = FeatureView(
    name="last_ride",
    entities=[driver, customer],
    schema=[Field(name="distance", dtype=Float64), Field(name="city", dtype=String)],
    source=FileSource(
        name="rides", path="data/rides.parquet", timestamp_field="ridden_at", field_mapping={"km": "distance"}
    ),
)


@on_demand_feature_view(
    sources=[driver_hourly_stats, RequestSource(name="request", schema=[Field(name="bonus", dtype=Float64)])],
    schema=[Field(name="conv_rate_with_bonus", dtype=Float64)],
)
def conv_rate_with_bonus(inputs: pd.DataFrame) -> pd.DataFrame:
    """Add what the request brings."""
    return pd.DataFrame({"conv_rate_with_bonus": inputs["conv_rate"] + inputs["bonus"]})


driver_activity = FeatureService(
    name="driver_activity",
    features=[driver_hourly_stats[["conv_rate", "avg_daily_trips"]], last_ride],
    description="What the dispatcher reads",
    tags={"model": "dispatch"},
)
