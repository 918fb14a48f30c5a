"""LoRA: a small local model that is tuned on examples, as a training run."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from trimtab.definitions.arguments import check_kind, check_name, check_text
from trimtab.definitions.llm.model_endpoints import check_count
from trimtab.definitions.sources import FileSource
from trimtab.errors import DefinitionError
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

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> pairs = tt.FileSource("pairs", "data/pairs.jsonl", timestamp="at")
    >>> tt.LoRA("small", base="models/base", examples=pairs, prompt="ticket", answer="queue").rank
    8
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

    def __post_init__(self) -> None:
        check_name("LoRA", self.name)
        where = f"LoRA '{self.name}'"
        check_text(f"{where}: base", self.base, "models/base")
        check_kind(f"{where}: examples", self.examples, FileSource)
        for argument in ("prompt", "answer"):
            check_text(f"{where}: {argument}", getattr(self, argument), argument)
        if self.prompt == self.answer:
            raise DefinitionError(f"{where}: prompt and answer are the same column, '{self.prompt}'")
        for argument in ("rank", "steps"):
            check_count(f"{where}: {argument}", getattr(self, argument))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise DefinitionError(f"{where}: seed is {self.seed!r}; expected a whole number from 0 on")
