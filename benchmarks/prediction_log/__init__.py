"""What the embedded prediction log costs."""
