"""The verbs that pipelines run in addition to the stages: test, smoke, summary."""
