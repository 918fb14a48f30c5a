"""What a row must look like; rows that do not are quarantined with the reason."""

import pandera.polars as pa
import polars as pl


class Rides(pa.DataFrameModel):
    """One hour in Washington."""

    starts_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    over_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    city: str
    hour: int = pa.Field(ge=0, le=23)
    weekday: int = pa.Field(ge=0, le=6)
    workingday: bool
    bikers: float = pa.Field(nullable=True, ge=0)


class Weather(pa.DataFrameModel):
    """One hour's weather: degrees Celsius, percent, kilometres an hour, 1 for rain or snow."""

    starts_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    over_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    city: str
    temperature: float = pa.Field(nullable=True, ge=-40, le=50)
    humidity: float = pa.Field(nullable=True, ge=0, le=100)
    wind: float = pa.Field(nullable=True, ge=0, le=150)
    wet: float = pa.Field(nullable=True, isin=[0.0, 1.0])
