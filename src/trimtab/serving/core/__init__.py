"""One neutral request and response: routing, scoring, fallbacks, the prediction log."""
