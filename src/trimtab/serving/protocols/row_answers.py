"""Answers with one JSON value a row, for the protocols that have no tensors.

binary      the probability of the positive class
multiclass  an object: label, and the probabilities of the classes
regression  the predicted value
anomaly     an object: anomaly_score and label
"""

from __future__ import annotations

from typing import Any

from trimtab.serving.requests import InferenceResponse


def row_answers(response: InferenceResponse) -> list[Any]:
    """Return one value a row; of a multiclass model with the lists classes and scores, as TensorFlow Serving has them.

    Vertex AI's own classifiers answer with the same two lists.
    """
    if response.probabilities is not None:
        return [
            {"label": label, "classes": response.classes, "scores": row}
            for label, row in zip(response.labels, response.probabilities, strict=True)
        ]
    if response.task == "anomaly":
        return records(response)
    return response.scores


def records(response: InferenceResponse) -> list[dict[str, Any]]:
    """Return one record a row, as of a data frame; probabilities of classes are an object of name and probability."""
    if response.probabilities is not None:
        return [
            {"label": label, "probabilities": dict(zip(response.classes, row, strict=True))}
            for label, row in zip(response.labels, response.probabilities, strict=True)
        ]
    if response.task == "anomaly":
        return [
            {"anomaly_score": score, "label": label}
            for score, label in zip(response.scores, response.labels, strict=True)
        ]
    name = "probability" if response.task == "binary" else "prediction"
    return [{name: score} for score in response.scores]
