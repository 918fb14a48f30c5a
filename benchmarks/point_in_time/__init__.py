"""Point-in-time joins and sliding windows: Trimtab compared with Polars and DuckDB, and the cost of reading files."""
