"""LoRA: a small local model that is tuned on examples, as a training run."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from trimtab.definitions.sources import FileSource
from trimtab.places import Placed


@dataclass
class LoRA(Placed):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) of a local model, tuned on examples.

    Args:
        name: letters, digits and single underscores.
        base: folder or name of the base model.
        examples: source of the examples.
        prompt: column with the prompt.
        answer: column with the wanted answer.
        rank: rank of the adapters.
        steps: optimiser steps.
        seed: the same seed, data and base give the same adapter.
    """

    name: str
    _: KW_ONLY
    base: str
    examples: FileSource
    prompt: str
    answer: str
    rank: int = 8
    steps: int = 200
    seed: int = 0
