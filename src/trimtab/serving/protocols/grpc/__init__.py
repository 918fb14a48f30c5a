"""The gRPC service of the Open Inference Protocol, with health and reflection."""
