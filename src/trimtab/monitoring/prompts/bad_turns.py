"""Which labels say that a turn was bad: those that `llm.promote.metric` names, of all that are given to a turn.

thumbs_down: label 1 for a thumb down, 0 for one up; edited: how much of the answer was changed; judge:NAME: 1 where the
judge, of any version, did not pass the turn. Labels without a name count, too.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

LABELS_OF = {"thumbs_down": "thumbs"}
"""Metric of the policy -> name of its labels, where they differ."""


class BadTurns:
    """The labels of the prompts of a project. metric: `llm.promote.metric`. prompts: their names."""

    def __init__(self, metric: str, prompts: Collection[str]) -> None:
        self._name = LABELS_OF.get(metric, metric)
        self._prompts = pa.array(sorted(prompts), pa.string())

    def counts(self, table: pa.Table) -> npt.NDArray[np.bool_] | None:
        """Return which rows of a table of the label log count, (rows,); None: all. Those of models always do."""
        if not len(self._prompts):
            return None
        names = table["name"]
        own = pc.or_(pc.is_null(names), pc.equal(names, self._name))
        own = pc.or_(own, pc.starts_with(names, f"{self._name}@"))
        of_prompt = pc.is_in(table["model"], value_set=self._prompts)
        found: npt.NDArray[np.bool_] = pc.fill_null(pc.or_(own, pc.invert(of_prompt)), True).to_numpy()
        return found
