"""The store of spend: what scopes may spend in a period, have spent, and hold for calls in flight."""
