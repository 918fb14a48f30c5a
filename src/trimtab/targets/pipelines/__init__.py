"""Pipelines of CI servers, all made from one list of stages."""
