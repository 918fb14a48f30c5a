"""Verbs of delivery: what pipelines run in addition to the stages, and bundles that go from one environment to another."""
