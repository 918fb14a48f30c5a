"""Features: joins, windows, online values and streams, in time and in memory."""
