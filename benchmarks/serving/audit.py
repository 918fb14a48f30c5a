"""Compares the answers that clients got with the prediction log: lost or doubled rows, shares, stickiness.

Pure functions of the answers that clients.py kept and of the log's table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.serving.clients import Acknowledged

MAX_SIGMA = 3.0


@dataclass(frozen=True, kw_only=True)
class Books:
    """Differences between acknowledged predictions and the served rows of the log."""

    acknowledged: int
    served_rows: int
    other_rows: int
    """Rows that were scored for comparison only."""
    lost: int
    """Acknowledged, and not in the log."""
    doubled: int
    """More than once in the log as served, whether acknowledged or not."""
    different: int
    """In the log with another role, version or revision than in the client's answer."""
    unheard: int
    """Served rows whose answer no client got, because its connection broke first."""
    example: str
    """An id that is lost, doubled or different, with what is wrong, or nothing."""

    @property
    def right(self) -> bool:
        """Whether every acknowledged prediction is in the log exactly once, as it was served."""
        return not (self.lost or self.doubled or self.different)


def compare_books(acknowledged: Sequence[Acknowledged], log: pa.Table) -> Books:
    """Compare. log: rows with prediction_id, role, version, revision, served and entities.

    Rows without an entity are left out: they belong to requests that test whether the server has started.
    """
    log = log.filter(pc.is_valid(log["entities"]))
    served = log.filter(pc.equal(log["served"], True))
    ids = served["prediction_id"].to_pylist()
    logged = dict(
        zip(
            ids,
            zip(served["role"].to_pylist(), served["version"].to_pylist(), served["revision"].to_pylist(), strict=True),
            strict=True,
        )
    )
    twice = [id_ for id_, times in Counter(ids).items() if times > 1] if len(logged) < len(ids) else []
    lost = [one.id for one in acknowledged if one.id not in logged]
    different = [
        f"{one.id}: told {(one.role, one.version, one.revision)}, logged {logged[one.id]}"
        for one in acknowledged
        if one.id in logged and logged[one.id] != (one.role, one.version, one.revision)
    ]
    told = {one.id for one in acknowledged}
    repeated = len(acknowledged) - len(told)  # one id given to two clients could not be told apart in the log
    examples = [f"{id_} is lost" for id_ in lost] + [f"{id_} is doubled" for id_ in twice] + different
    return Books(
        acknowledged=len(acknowledged),
        served_rows=served.num_rows,
        other_rows=log.num_rows - served.num_rows,
        lost=len(lost),
        doubled=len(twice) + repeated,
        different=len(different),
        unheard=len(logged.keys() - told),
        example=examples[0] if examples else "",
    )


@dataclass(frozen=True, kw_only=True)
class Share:
    """The share of the entities that one role got in one revision, and its weight."""

    revision: int
    role: str
    weight: float
    """As a share of one."""
    share: float
    entities: int

    @property
    def sigmas(self) -> float:
        """Distance in standard deviations of a binomial share."""
        spread = sqrt(self.weight * (1 - self.weight) / self.entities)
        distance = abs(self.share - self.weight)
        return distance / spread if spread else (0.0 if distance < 1e-12 else float("inf"))


Weights = Mapping[int, Mapping[str, float]]
"""Revision -> role -> share of one; roles that get no traffic left out."""


def shares(acknowledged: Sequence[Acknowledged], weights: Weights) -> list[Share]:
    """Return the share of each role in each revision. Entities count once: their requests go together."""
    roles: dict[int, dict[int, str]] = {}
    for one in acknowledged:
        roles.setdefault(one.revision, {})[one.entity] = one.role
    found = []
    for revision, given in sorted(roles.items()):
        counts = Counter(given.values())
        for role in sorted({*counts, *weights[revision]}):
            weight = weights[revision].get(role, 0.0)
            share = counts[role] / len(given)
            found.append(Share(revision=revision, role=role, weight=weight, share=share, entities=len(given)))
    return found


@dataclass(frozen=True, kw_only=True)
class Stickiness:
    """Whether entities keep their role."""

    repeated: int
    """Answers to an entity that had been answered before in the same revision."""
    strayed: int
    """Of these, by another role than the first time."""
    moved_wrongly: int
    """Entities that changed sides against the change of the weights, from one revision to the next."""


def stickiness(acknowledged: Sequence[Acknowledged], weights: Weights) -> Stickiness:
    """Check that an entity keeps its role within a revision, and that only the moved share moves between two."""
    roles: dict[int, dict[int, str]] = {}
    repeated = strayed = 0
    for one in acknowledged:
        first = roles.setdefault(one.revision, {}).setdefault(one.entity, one.role)
        repeated += 1
        strayed += first != one.role
    repeated -= sum(map(len, roles.values()))
    wrongly = 0
    numbers = sorted(roles)
    for before, after in pairwise(numbers):
        growth = weights[after].get("challenger", 0.0) - weights[before].get("challenger", 0.0)
        for entity, role in roles[after].items():
            was = roles[before].get(entity, role)
            grew = (was, role) == ("champion", "challenger")
            shrank = (was, role) == ("challenger", "champion")
            wrongly += (grew and growth <= 0) or (shrank and growth >= 0)
    return Stickiness(repeated=repeated, strayed=strayed, moved_wrongly=wrongly)
