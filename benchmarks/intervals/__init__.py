"""Coverage of the gates' intervals for few days."""
