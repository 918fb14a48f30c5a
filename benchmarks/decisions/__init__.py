"""What decisions are worth: eleven real streams, many policies, in money."""
