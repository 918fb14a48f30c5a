"""False alarms, power and cost of drift detection on flights of 2013, compared with tests of single rows (SciPy)."""
