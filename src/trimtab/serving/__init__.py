"""The gateway: a supervisor process and the workers that answer requests, log predictions and take labels."""
