"""Alerts: which records are worth a message, and how messages are grouped and sent."""
