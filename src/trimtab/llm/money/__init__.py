"""Money of calls: prices, usage, estimates, and the ledger that reserves before a call and settles after it."""
