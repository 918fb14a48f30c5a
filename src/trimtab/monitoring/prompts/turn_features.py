"""Fills in the features of turns that the gateway does not log: model, language and topics.

Their codes: model_reported and the topics have their places in the reference of the version, so one that it does not
have is one more; a language has its place in LANGUAGES. NaN where a text is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.bundle.prompt_spec import TURN_FEATURES, TURN_TEXTS
from trimtab.llm.languages import LANGUAGES, language
from trimtab.llm.topics import Placed, Topics, TurnTopics
from trimtab.monitoring.prediction_rows import VersionRows
from trimtab.monitoring.prompts.turn_texts import TurnText, hashed

Floats = npt.NDArray[np.float32]


def text_features(
    texts: Sequence[TurnText], question: Placed, answer: Placed, models: Sequence[str]
) -> dict[str, Floats]:
    """Return each of TURN_TEXTS, float32 (n,).

    question, answer: topics of the texts. models: those of the reference, in the order of their codes.
    """
    code = {name: float(place) for place, name in enumerate(models)}
    reported = [np.nan if t.reported is None else code.get(t.reported, float(len(models))) for t in texts]
    languages = [np.nan if t.question is None else float(LANGUAGES.index(language(t.question))) for t in texts]
    columns: Mapping[str, Sequence[float] | Floats] = {
        "model_reported": reported,
        "language": languages,
        "topic": question.code,
        "topic_distance": question.distance,
        "answer_topic": answer.code,
        "answer_distance": answer.distance,
    }
    return {name: np.asarray(columns[name], np.float32) for name in TURN_TEXTS}


def with_texts(rows: VersionRows, texts: Sequence[TurnText], topics: TurnTopics, models: Sequence[str]) -> VersionRows:
    """Return rows with the features of their texts filled in. texts: of each row, in the order of `rows`."""
    fitting = pc.fill_null(pc.equal(pc.list_value_length(rows.lists), len(TURN_FEATURES)), False)
    fits = fitting.to_numpy(zero_copy_only=False)
    matrix = np.full((len(fits), len(TURN_FEATURES)), np.nan, np.float32)
    flat = rows.lists.filter(fitting).flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    matrix[fits] = flat.reshape(-1, len(TURN_FEATURES))
    question = _placed(topics.question, [text.question for text in texts])
    answer = _placed(topics.answer, [text.answer for text in texts])
    for name, values in text_features(texts, question, answer, models).items():
        matrix[:, TURN_FEATURES.index(name)] = values
    ends = np.concatenate([[0], np.cumsum(np.where(fits, len(TURN_FEATURES), 0))]).astype(np.int32)
    values = pa.array(matrix[fits].ravel(), pa.float32())
    lists = pa.ListArray.from_arrays(pa.array(ends), values, mask=pa.array(~fits))
    return replace(rows, lists=lists, hashed=hashed(texts))


def _placed(topics: Topics | None, texts: Sequence[str | None]) -> Placed:
    if topics is None:
        nothing = np.full(len(texts), np.nan, np.float32)
        return Placed(nothing, nothing)
    return topics.place(texts)
