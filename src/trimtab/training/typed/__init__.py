"""What training does for models that take a frame: conversion to ONNX, and probes with values of each type."""
