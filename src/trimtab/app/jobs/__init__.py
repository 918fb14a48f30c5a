"""Trainings in the place that the policy names: this process, one of its own, a container, a cluster."""
