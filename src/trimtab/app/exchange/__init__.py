"""Models that go to other systems or come from them: MLflow, KServe, BentoML."""
