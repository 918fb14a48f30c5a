"""Turns of a prompt that sorts tickets: what the gateway logs of them, hour by hour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trimtab.bundle.prompt_spec import TURN_FEATURES
from trimtab.monitoring.prompts.turn_reference import ReferenceTurn
from trimtab.monitoring.prompts.turn_texts import TurnText
from trimtab.stores.predictions.contract import Predictions
from trimtab.testing.predictions import content_rows, label_rows, prediction_rows, turn_rows
from trimtab.units import MICROS

PROMPT = "triage"
BEGIN = 1_767_225_600_000_000
"""2026-01-01 in microseconds."""
_WORDS = """
refund: refund money back charged twice card statement amount bank payment receipt return
delivery: parcel late courier tracking address delivered street door box van schedule lost
login: password reset account locked email code phone browser login screen button username
invoice: invoice vat company number pdf copy month tax subscription plan period accounting
new: solar panel roof inverter kilowatt battery grid cable installer permit module shade
filler: hello please the my is not working again since yesterday can you help with this problem thanks
"""
SUBJECTS = {name: words.split() for name, words in (line.split(": ") for line in _WORDS.strip().splitlines())}
NEW, FILLER = SUBJECTS.pop("new"), SUBJECTS.pop("filler")
LABELS = ("thumbs", "user")


@dataclass(kw_only=True)
class Traffic:
    """What the turns are like from now on.

    new: share of a subject that never came before. bad: share of thumbs down among the ratings.
    """

    rows: int = 40
    new: float = 0.0
    bad: float = 0.1
    rated: float = 0.5
    mode: str = "masked"
    reported: str = "classifier-1"
    version: int = 1
    role: str = "champion"
    seed: int = 0
    label: tuple[str, str] = LABELS
    metric_first_token_ms: float = 300.0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def question(self) -> tuple[str, str]:
        """Return a subject and a text about it."""
        subject = "other" if self.random.random() < self.new else str(self.random.choice(list(SUBJECTS)))
        words = NEW if subject == "other" else SUBJECTS[subject]
        chosen = [*self.random.choice(words, 6, replace=False), *self.random.choice(FILLER, 5, replace=False)]
        return subject, " ".join(self.random.permutation(chosen))

    def numbers(self) -> dict[str, float]:
        """Return the numbers of a turn."""
        tokens = float(self.random.integers(30, 60))
        return {
            "input_tokens": tokens,
            "output_tokens": float(self.random.integers(3, 8)),
            "cached_share": 0.0,
            "turn": float(self.random.integers(1, 4)),
            "tool_calls": 0.0,
            "documents": 0.0,
            "first_token_ms": float(self.random.gamma(20.0, self.metric_first_token_ms / 20.0)),
            "ms_per_token": float(self.random.gamma(20.0, 1.0)),
            "cost": tokens * 1e-6,
            "refused": 0.0,
            "format_ok": 1.0,
            "cut": 0.0,
        }


def reference_turns(count: int, *, seed: int = 99) -> list[ReferenceTurn]:
    """Return answers of an evaluation."""
    traffic, found = Traffic(seed=seed), list[ReferenceTurn]()
    for _ in range(count):
        subject, text = traffic.question()
        said = TurnText(question=text, answer=f"queue {subject}", reported=traffic.reported)
        found.append(ReferenceTurn(numbers=traffic.numbers(), text=said))
    return found


def write_hours(log: Predictions, traffic: Traffic, hours: Iterable[int]) -> None:
    """Log the turns of some hours, the texts first, and the ratings of their users half an hour later."""
    for hour in hours:
        _write_hour(log, traffic, hour)


def _write_hour(log: Predictions, traffic: Traffic, hour: int) -> None:
    n = traffic.rows
    ids = [f"chatcmpl-{traffic.version}-{hour}-{place}" for place in range(n)]
    at = [BEGIN + hour * MICROS["h"] + place * MICROS["h"] // n for place in range(n)]
    asked, numbers = [traffic.question() for _ in ids], [traffic.numbers() for _ in ids]
    of: dict[str, Sequence[Any]] = {"model": [PROMPT] * n, "version": [traffic.version] * n}
    log.append_turns(turn_rows(ids, **of, at=at, model_reported=[traffic.reported] * n))
    hidden = traffic.mode == "hash"
    for part, texts in (("messages.0.system", ["sort the ticket"] * n), ("messages.1.user", [q for _, q in asked])):
        kept = ["ab12" if hidden else text for text in texts]
        log.append_contents(content_rows(ids, **of, at=at, part=[part] * n, mode=[traffic.mode] * n, text=kept))
    answers = ["ab12" if hidden else f"queue {subject}" for subject, _ in asked]
    log.append_contents(content_rows(ids, **of, at=at, mode=[traffic.mode] * n, text=answers))
    log.append(
        prediction_rows(
            ids,
            **of,
            role=[traffic.role] * n,
            served=[traffic.role == "champion"] * n,
            event_time=at,
            logged_at=at,
            entities=[[("conversation", f"c{place % 9}"), ("tenant", "web")] for place in range(n)],
            features=[[each.get(name, float("nan")) for name in TURN_FEATURES] for each in numbers],
            score=[0.0] * n,
            confidence=[None] * n,
            latency_us=[int(1000 * each["first_token_ms"]) + 90_000 for each in numbers],
            cpu_us=[80] * n,
        )
    )
    rated = np.flatnonzero(traffic.random.random(n) < traffic.rated)
    bad = traffic.random.random(n) < traffic.bad
    name, source = traffic.label
    log.append_labels(
        label_rows(
            [ids[place] for place in rated],
            model=[PROMPT] * len(rated),
            label=[float(bad[place]) for place in rated],
            known_at=[at[place] + MICROS["h"] // 2 for place in rated],
            received_at=[at[place] + MICROS["h"] // 2 for place in rated],
            name=[name] * len(rated),
            source=[source] * len(rated),
            rater=["u1"] * len(rated),
        )
    )
