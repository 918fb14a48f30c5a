"""A Feast repository with one of each kind of object, so that each is converted or reported."""

from datetime import timedelta

import pandas as pd
from feast import (
    BigQuerySource,
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    KafkaSource,
    StreamFeatureView,
    ValueType,
)
from feast.aggregation import Aggregation
from feast.data_format import AvroFormat, DeltaFormat, JsonFormat
from feast.stream_feature_view import stream_feature_view
from feast.types import Array, Float64, Int64, String

card = Entity(name="card", value_type=ValueType.INT64)
shop = Entity(name="shop-2", join_keys=["shop"], value_type=ValueType.STRING, description="A shop\nand its till")

payments = FileSource(name="payments", path="data/payments", timestamp_field="paid_at")
topic = KafkaSource(
    name="payment_stream",
    kafka_bootstrap_servers="kafka:9092",
    topic="payments",
    timestamp_field="paid_at",
    message_format=JsonFormat("card integer, shop string, amount double"),
    batch_source=payments,
    watermark_delay_threshold=timedelta(minutes=5),
)
avro_topic = KafkaSource(
    name="avro_stream",
    kafka_bootstrap_servers="kafka:9092",
    topic="avro",
    timestamp_field="paid_at",
    message_format=AvroFormat("{}"),
    batch_source=payments,
)
warehouse = BigQuerySource(name="warehouse", table="shop.orders", timestamp_field="ordered_at")
orders = FileSource(path="data/orders", timestamp_field="ordered_at", file_format=DeltaFormat())
renamed_key = FileSource(
    name="renamed_key", path="s3://bucket/keys.parquet", timestamp_field="at", field_mapping={"card_no": "card"}
)

spent = StreamFeatureView(
    name="spent",
    entities=[card],
    ttl=timedelta(days=7),
    source=topic,
    timestamp_field="paid_at",
    aggregations=[
        Aggregation(column="amount", function="sum", time_window=timedelta(hours=1)),
        Aggregation(column="amount", function="mean", time_window=timedelta(days=1), name="usual"),
        Aggregation(column="amount", function="count", time_window=timedelta(days=1)),
        Aggregation(column="shop", function="count_distinct", time_window=timedelta(days=7)),
        Aggregation(column="amount", function="median", time_window=timedelta(days=7)),
        Aggregation(column="amount", function="max"),
        Aggregation(column="amount", function="var_samp", time_window=timedelta(days=7)),
    ],
)


@stream_feature_view(
    entities=[card],
    ttl=timedelta(days=7),
    mode="pandas",
    schema=[Field(name="amount", dtype=Float64)],
    timestamp_field="paid_at",
    source=avro_topic,
)
def transformed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with another currency."""
    return rows.assign(amount=rows.amount * 2)


card__limits = FeatureView(
    name="card__limits",
    entities=[card],
    source=warehouse,
    schema=[
        Field(name="limit", dtype=Float64),
        Field(name="past", dtype=Array(Int64)),
        Field(name="bank", dtype=String),
    ],
)
ordered = FeatureView(
    name="ordered", entities=[card, shop], source=orders, schema=[Field(name="items", dtype=Int64)], online=False
)
everywhere = FeatureView(name="everywhere", source=payments, schema=[Field(name="amount", dtype=Float64)])
keyed = FeatureView(name="keyed", entities=[card], source=renamed_key, schema=[Field(name="amount", dtype=Float64)])
vectors = FeatureView(name="vectors", entities=[card], source=payments, schema=[Field(name="v", dtype=Array(Float64))])

fraud = FeatureService(
    name="fraud",
    features=[spent, card__limits[["limit", "past"]], ordered.with_name("ordered_again"), everywhere, transformed],
    owner="risk@example.com",
)
