"""The stages of a retraining in their order, and how often it runs: what the files for orchestrators share."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.errors import DefinitionError
from trimtab.targets.project_facts import Facts
from trimtab.units import MICROS

OF_PROJECT: Sequence[str] = ("ingest", "validate")
"""Verbs that run once."""
OF_MODEL: Sequence[str] = ("features", "train", "evaluate", "register", "deploy")
"""Verbs that run for each model, after those of the project."""


def period(micros: int) -> tuple[int, str]:
    """Return a duration as a whole number of the largest of d, h, m, s that divides it; at least a second, rounded."""
    for unit in ("d", "h", "m"):
        if micros % MICROS[unit] == 0:
            return micros // MICROS[unit], unit
    return max(1, round(micros / MICROS["s"])), "s"


def trained_models(facts: Facts) -> list[str]:
    """Return the names of the models that have a trainer. Raises DefinitionError when there is none."""
    found = [name for name, model in facts.definitions.models.items() if model.fit is not None]
    if not found:
        raise DefinitionError(f"{facts.definitions.path}: no model has a trainer, so there is nothing to retrain")
    return found
