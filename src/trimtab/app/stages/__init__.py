"""The stages from data to a deployed bundle, each safe to run again."""
