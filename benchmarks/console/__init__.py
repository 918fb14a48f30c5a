"""How soon the pages of the console are there, what they weigh, and whether their viewers slow the gateway down."""
