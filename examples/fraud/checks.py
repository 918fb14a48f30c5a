"""What a row must look like; rows that do not are quarantined with the reason."""

import pandera.polars as pa
import polars as pl


class Payment(pa.DataFrameModel):
    """What is known of a payment when it is authorised."""

    transaction: str = pa.Field(nullable=False)
    authorised_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    card: str = pa.Field(nullable=False)
    terminal: str = pa.Field(nullable=False)
    mcc: int = pa.Field(ge=1, le=9999)
    amount: float = pa.Field(gt=0, lt=1_000_000)
    distance_km: float = pa.Field(nullable=True, ge=0, lt=20_100)
    new_device: float = pa.Field(isin=[0.0, 1.0])


class Transactions(Payment):
    """One payment; posted_at is when it was written to the stream."""

    posted_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)


class Outcomes(Payment):
    """What became of one payment; a chargeback after the end of the dispute period is a second row."""

    settled_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    fraud: float = pa.Field(isin=[0.0, 1.0])


class Chargebacks(pa.DataFrameModel):
    """One payment that its customer has disputed."""

    transaction: str = pa.Field(nullable=False)
    reported_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    card: str = pa.Field(nullable=False)
    terminal: str = pa.Field(nullable=False)
    amount: float = pa.Field(gt=0)
