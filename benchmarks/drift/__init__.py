"""Are the alarms honest, do they come in time, and what do they cost? Flights of 2013, beside tests of rows (SciPy)."""
