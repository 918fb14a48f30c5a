"""What a smoke test compares a gateway's description of a model with."""

from __future__ import annotations

from trimtab.app.delivery.smoke_test import as_answered
from trimtab.serving.protocols.v2.model_metadata import inputs_of, outputs_of
from trimtab.testing.bundles import plain_spec


def test_classes_and_optional_columns_are_as_clients_read_them() -> None:
    spec = plain_spec("size", ["length"], task="multiclass", classes=("small", "large"), entity_keys=("depot",))
    outputs = {each["name"]: each for each in as_answered(outputs_of(spec))}
    assert outputs["probabilities"]["parameters"] == {"classes": ["small", "large"]}
    assert "parameters" not in outputs["label"]
    inputs = {each["name"]: each for each in as_answered(inputs_of(spec))}
    assert inputs["depot"]["parameters"] == {"optional": True}
    assert "parameters" not in inputs["length"]
