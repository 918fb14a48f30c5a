"""The metadata store: its contract, and backends that stores.catalog opens by name."""
