"""Point-in-time joins and sliding windows: Trimtab beside Polars and DuckDB, and the cost of reading the file."""
