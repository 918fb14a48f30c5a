"""Files for platforms that run pipelines and endpoints: Kubeflow, SageMaker, Vertex AI."""
