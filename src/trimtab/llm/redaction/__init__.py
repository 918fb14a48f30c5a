"""Personal data and secrets in the texts of turns: found by form and check digits, masked, or kept as a keyed hash."""
