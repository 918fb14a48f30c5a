"""Features beside Feast, DuckDB, Polars and pandas: joins, windows, online values, the feature server and streams."""
