"""The reference of a version of a prompt: reference/windows.json, and the topics of its texts.

It is made of the windows that the champion has served, where there are ENOUGH_WINDOWS of them, else of the answers of
the evaluation. Answers to examples are not like traffic, so nothing is compared with them: they say how features are
counted until the version has served ENOUGH_WINDOWS windows itself. These are its reference from then on, and topics are
made anew of their texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.bundle.prompt_spec import TURN_CATEGORIES, TURN_FEATURES, TURN_NUMBERS
from trimtab.errors import DataError
from trimtab.llm.languages import LANGUAGES
from trimtab.llm.topics import ANSWER_TOPICS, QUESTION_TOPICS, Embed, Topics, TurnTopics
from trimtab.metric_catalog import CHAT
from trimtab.monitoring.mistakes import Costs
from trimtab.monitoring.prompts.turn_features import text_features
from trimtab.monitoring.prompts.turn_texts import NOTHING, TurnText
from trimtab.monitoring.reference import WINDOWS_FILE, build_reference

ROWS_A_WINDOW = 20
"""Answers of an evaluation have no time; so many make a window."""


@dataclass(frozen=True, kw_only=True)
class ReferenceTurn:
    """One turn of the reference.

    numbers: of TURN_NUMBERS those that are known. label: 1 for a bad turn, 0 for one that is not; None: not rated. at:
    event time in microseconds; None: an answer of an evaluation.
    """

    numbers: Mapping[str, float]
    text: TurnText = NOTHING
    label: float | None = None
    at: int | None = None


@dataclass(frozen=True)
class TurnReference:
    """The files of a bundle, by path in it, and names of the codes for `Spec.feature_categories`."""

    files: Mapping[str, bytes]
    categories: Mapping[str, tuple[str, ...]]


def build_turn_reference(
    turns: Sequence[ReferenceTurn],
    *,
    window: int,
    costs: Costs | None = None,
    embed: Embed = "tfidf",
    seed: int = 0,
    own: bool = False,
) -> TurnReference:
    """Return the reference of a version of a prompt.

    Args:
        turns: answers of an evaluation, or turns that the champion has served: then all of them have a time.
        window: `decide.window`, microseconds.
        costs: `impact.cost` of a bad turn.
        embed: how texts become vectors.
        seed: of the topics.
        own: the turns are of the version itself, whose labels are not known yet.

    Raises:
        DataError: there are no turns, or only some of them have a time.
    """
    served = {turn.at is not None for turn in turns}
    if len(served) != 1:
        raise DataError("a reference needs turns, all with an event time or none" if served else "no turns")
    live = served.pop()
    texts = [turn.text for turn in turns]
    models = tuple(sorted({text.reported for text in texts if text.reported is not None}))
    question, asked = Topics.fit([text.question for text in texts], embed=embed, seed=seed)
    answer, said = Topics.fit([text.answer for text in texts], embed=embed, seed=seed)
    topics = TurnTopics(question, answer)
    columns = {name: [turn.numbers.get(name, np.nan) for turn in turns] for name in TURN_NUMBERS}
    columns |= {name: values.tolist() for name, values in text_features(texts, asked, said, models).items()}
    at = [place // ROWS_A_WINDOW * window if turn.at is None else turn.at for place, turn in enumerate(turns)]
    found = build_reference(
        np.array([columns[name] for name in TURN_FEATURES], np.float32).T,
        np.zeros(len(turns)),
        [np.nan if turn.label is None or not live or own else turn.label for turn in turns],
        np.array(at, np.int64),
        TURN_FEATURES,
        window=window,
        task=CHAT,
        threshold=0.5,
        costs=costs or {},
        categories=TURN_CATEGORIES,
        made_of="own" if own else "training" if live else "examples",
    )
    files = {WINDOWS_FILE: found.to_json()}
    for path, of in ((QUESTION_TOPICS, topics.question), (ANSWER_TOPICS, topics.answer)):
        if of is not None:
            files[path] = of.to_bytes()
    return TurnReference(files, _categories(models, topics))


def _categories(models: tuple[str, ...], topics: TurnTopics) -> dict[str, tuple[str, ...]]:
    found = {"model_reported": models, "language": LANGUAGES}
    for name, of in (("topic", topics.question), ("answer_topic", topics.answer)):
        if of is not None:
            found[name] = of.names
    return found
