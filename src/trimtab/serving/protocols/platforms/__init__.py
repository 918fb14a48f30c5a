"""The container contracts of hosting platforms: SageMaker, Vertex AI."""
