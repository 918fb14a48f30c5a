"""Manifests for Kubernetes: a chart, Kustomize, Argo CD and KServe, made of one list of resources."""
