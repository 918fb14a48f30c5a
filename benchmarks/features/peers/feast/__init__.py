"""Feast, DuckDB and pandas, run by the Python of .bench/feast."""
