"""Time from a push to an answer of the new version in staging."""
