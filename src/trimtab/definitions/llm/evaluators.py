"""Evaluators: what an answer of a prompt is judged by, on a set of examples and on sampled live turns alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from trimtab.definitions.llm.model_endpoints import Endpoint
from trimtab.definitions.sources import FileSource
from trimtab.places import Placed


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One answer of a prompt, as evaluators get it.

    Args:
        messages: what was sent to the model, in OpenAI's shape.
        text: the answer; empty when the model only called tools or refused.
        tool_calls: calls of tools, in OpenAI's shape.
        refusal: why the model refused; None when it did not.
        finish_reason: "stop", "length", "tool_calls" or "content_filter".
        parsed: the answer by the prompt's output schema; None without one, or when the text does not fit it.
        format_ok: whether the text fits the output schema; True without one.
        input_tokens: tokens of the prompt, as reported or estimated.
        output_tokens: tokens of the answer.
        cost: in the currency of `impact`.
        first_token_ms: milliseconds until the first token.
        latency_ms: milliseconds until the end.
        document_ids: documents that the prompt's retriever put in.
    """

    messages: Sequence[Mapping[str, Any]]
    text: str
    tool_calls: Sequence[Mapping[str, Any]] = ()
    refusal: str | None = None
    finish_reason: str = "stop"
    parsed: Any = None
    format_ok: bool = True
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    first_token_ms: float = 0.0
    latency_ms: float = 0.0
    document_ids: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Item:
    """One example of a set.

    Args:
        id: hash of its content.
        inputs: variables of the prompt, or {"messages": [...]}.
        expected: the answer that is wanted; None when none is given.
        tags: column -> value, by which results are told apart.
        cluster: the conversation, document or customer that it belongs to; None: it stands alone.
    """

    id: str
    inputs: Mapping[str, Any]
    expected: Any = None
    tags: Mapping[str, str] = field(default_factory=dict)
    cluster: str | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """What an evaluator says of one turn.

    Args:
        value: True or False, or a number from 0 to 1; None: no verdict, which is counted and never a pass.
        reason: in words, for reports and for the tuning of prompts.
    """

    value: bool | float | None
    reason: str = ""


Judged = bool | float | Score
Gate = Literal["quality", "format", "safety", "first_token", "cost"]


@dataclass
class Evaluator(Placed):
    """A named function that judges turns. Factories such as `tt.exact` make one, and the decorator `tt.evaluator`.

    Args:
        name: in reports and gates.
        judge: takes a Turn and the Item, which is None on live turns, and returns True or False, a number from 0 to 1,
            or a Score.
        gate: the gate that its results feed.
        needs_expected: whether it needs the expected answer, so that it cannot judge live turns.
    """

    name: str
    judge: Callable[[Turn, Item | None], Judged]
    _: KW_ONLY
    gate: Gate = "quality"
    needs_expected: bool = False


@dataclass
class Judge(Placed):
    """A language model that judges turns by a rubric. It gates only when it was calibrated against people.

    Args:
        name: letters, digits and single underscores.
        endpoint: where it runs.
        model: name of the model there.
        rubric: what a good answer is, in words.
        scale: "pass_fail", or "score" from 0 to 1.
        labels: verdicts of people: columns prediction_id or item, rater, verdict.
        repeats: how often each turn is judged; the majority, or the mean, counts.
    """

    name: str
    _: KW_ONLY
    endpoint: Endpoint
    model: str
    rubric: str
    scale: Literal["pass_fail", "score"] = "pass_fail"
    labels: FileSource | None = None
    repeats: int = 1


@dataclass
class EvalSet(Placed):
    """A versioned set of examples, which prompts are judged on.

    Args:
        name: letters, digits and single underscores.
        source: a JSONL, CSV or Parquet file, or a FileSource.
        inputs: columns with the variables of the prompt, or the one column with whole messages.
        expected: column with the wanted answer; None when there is none.
        tags: columns by which results are told apart.
        cluster: column with the conversation, document or customer of an example: examples of one are not independent.
    """

    name: str
    _: KW_ONLY
    source: str | FileSource
    inputs: Sequence[str] | str = "messages"
    expected: str | None = "expected"
    tags: Sequence[str] = ()
    cluster: str | None = None


class Eval:
    """A set of examples with the evaluators that judge the answers to it."""

    def __init__(self, set: EvalSet, *evaluators: Evaluator | Judge) -> None:
        """set: the examples. evaluators: run on them, and on sampled live turns where they need no expected answer."""
        self.set = set
        self.evaluators = evaluators
