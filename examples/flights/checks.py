"""What a row must look like; rows that do not are quarantined with the reason."""

import pandera.polars as pa
import polars as pl


class Flights(pa.DataFrameModel):
    """One scheduled flight out of New York."""

    scheduled_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    landed_at: pl.Datetime("us", "UTC") = pa.Field(nullable=True)
    carrier: str = pa.Field(str_length={"min_value": 2, "max_value": 2})
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"])
    dest: str = pa.Field(str_length={"min_value": 3, "max_value": 3})
    distance: float = pa.Field(gt=0, lt=6000)
    dep_delay: float = pa.Field(nullable=True, ge=-120, le=2880)
    arr_delay: float = pa.Field(nullable=True, ge=-180, le=2880)
    late: float = pa.Field(nullable=True, isin=[0.0, 1.0])


class Weather(pa.DataFrameModel):
    """One hour at one airport: degrees Fahrenheit, miles an hour, inches, miles."""

    observed_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    published_at: pl.Datetime("us", "UTC") = pa.Field(nullable=False)
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"])
    temp: float = pa.Field(nullable=True, ge=-60, le=130)
    humid: float = pa.Field(nullable=True, ge=0, le=101)
    wind_speed: float = pa.Field(nullable=True, ge=0, le=200)
    precip: float = pa.Field(nullable=True, ge=0, le=12)
    visib: float = pa.Field(nullable=True, ge=0, le=100)
