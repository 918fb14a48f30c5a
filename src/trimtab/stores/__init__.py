"""The stores: metadata, tables, online values, artifacts, predictions. Each has a contract and one file a backend."""
