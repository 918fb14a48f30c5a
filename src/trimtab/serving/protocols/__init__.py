"""Wire protocols: one file each, from and to the neutral request and response."""
