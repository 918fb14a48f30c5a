"""Evaluators: what an answer of a prompt is judged by, on a set of examples and on sampled live turns alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, overload

from trimtab.definitions.arguments import check_columns, check_kind, check_name, check_plain, check_text, source_of
from trimtab.definitions.feature_types import check_choice
from trimtab.definitions.llm.model_endpoints import Endpoint, check_count
from trimtab.definitions.sources import FORMATS, FileSource
from trimtab.errors import DefinitionError
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
        personal_data: kinds of personal data and secrets in the answer, such as "email"; None: not looked for.

    >>> import trimtab as tt
    >>> tt.Turn(messages=[{"role": "user", "content": "2 + 2?"}], text="4", output_tokens=1).finish_reason
    'stop'
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
    personal_data: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """One example of a set.

    Args:
        id: hash of its content.
        inputs: variables of the prompt, or {"messages": [...]}.
        expected: the answer that is wanted; None when none is given.
        tags: column -> value, by which results are told apart.
        cluster: the conversation, document or customer that it belongs to; None: it stands alone.

    >>> import trimtab as tt
    >>> tt.Item(id="1", inputs={"ticket": "I was charged twice"}, expected="billing").tags
    {}
    """

    id: str
    inputs: Mapping[str, Any]
    expected: Any = None
    tags: Mapping[str, str] = field(default_factory=dict)
    cluster: str | None = None


@dataclass(frozen=True)
class Score:
    """What an evaluator says of one turn.

    Args:
        value: True or False, or a number from 0 to 1; None: no verdict, which is counted and never a pass.
        reason: in words, for reports and for the tuning of prompts.

    Raises:
        DefinitionError: the value is something else.

    >>> import trimtab as tt
    >>> tt.Score(0.5, "one of two facts is there").value
    0.5
    """

    value: bool | float | None
    reason: str = ""

    def __post_init__(self) -> None:
        value = self.value
        if value is not None and not (isinstance(value, bool | int | float) and 0 <= value <= 1):
            raise DefinitionError(
                f"Score: value is {value!r}; expected True or False, a number from 0 to 1, or None for no verdict"
            )
        if not isinstance(self.reason, str):
            raise DefinitionError(f"Score: reason is {self.reason!r}; expected text")


Judged = bool | float | Score | None
Gate = Literal["quality", "format", "safety", "first_token", "cost"]


@dataclass
class Evaluator(Placed):
    """A named function that judges turns. Factories such as `tt.exact` make one, and the decorator `tt.evaluator`.

    Args:
        name: in reports and gates.
        judge: takes a Turn and the Item, which is None on live turns, and returns True or False, a number from 0 to 1,
            None for no verdict, or a Score.
        gate: the gate that its results feed.
        needs_expected: whether it needs the expected answer, so that it cannot judge live turns.
        source: text that changes when its verdicts may change: its code, or its arguments.
        file: a file that it reads.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> short = tt.Evaluator("short", lambda turn, item: len(turn.text) < 20)
    >>> short.score(tt.Turn(messages=[], text="billing")).value
    True
    """

    name: str
    judge: Callable[[Turn, Item | None], Judged]
    _: KW_ONLY
    gate: Gate = "quality"
    needs_expected: bool = False
    source: str = field(default="", compare=False)
    file: Path | None = None

    def __post_init__(self) -> None:
        check_name("Evaluator", self.name)
        if not callable(self.judge):
            raise DefinitionError(
                f"Evaluator '{self.name}': judge is {self.judge!r}; expected a function of (turn, item)"
            )
        check_choice(f"Evaluator '{self.name}': gate", self.gate, get_args(Gate))
        self.source = self.source or source_of(self.judge)

    @property
    def version(self) -> str:
        """Twelve hex digits that change with its code or arguments, and with the file that it reads."""
        digest = hashlib.sha256(self.source.encode())
        if self.file is not None and self.file.is_file():
            digest.update(self.file.read_bytes())
        return digest.hexdigest()[:12]

    def score(self, turn: Turn, item: Item | None = None) -> Score:
        """Judge one turn.

        Args:
            turn: the answer.
            item: its example; None on live turns.

        Returns:
            What the function returned, as a Score.

        Raises:
            DefinitionError: it returned something else than a verdict. Errors of the function itself pass through.
        """
        said: Any = self.judge(turn, item)
        if isinstance(said, Score):
            return said
        if said is None or (isinstance(said, bool | int | float) and 0 <= said <= 1):
            return Score(said)
        raise DefinitionError(
            f"Evaluator '{self.name}' returned {said!r}; expected True or False, a number from 0 to 1, None, or a "
            "tt.Score"
        )


@overload
def evaluator(function: Callable[[Turn, Item | None], Judged], /) -> Evaluator: ...


@overload
def evaluator(
    *, gate: Gate = "quality", needs_expected: bool = False
) -> Callable[[Callable[[Turn, Item | None], Judged]], Evaluator]: ...


def evaluator(
    function: Callable[[Turn, Item | None], Judged] | None = None,
    /,
    *,
    gate: Gate = "quality",
    needs_expected: bool = False,
) -> Evaluator | Callable[[Callable[[Turn, Item | None], Judged]], Evaluator]:
    """Make an evaluator of a function, which judges answers on sets of examples and sampled live turns alike.

    Args:
        function: takes a Turn and the Item, which is None on live turns.
        gate: the gate that its results feed: quality, format or safety.
        needs_expected: whether it needs the expected answer; it is not asked about live turns then.

    Returns:
        The evaluator, or with arguments a decorator that makes one.

    Raises:
        DefinitionError: the function takes other arguments, or an argument is wrong.

    >>> import trimtab as tt
    >>> @tt.evaluator
    ... def polite(turn, item):
    ...     return tt.Score("thank" in turn.text.lower(), "thanks the customer")
    >>> polite.score(tt.Turn(messages=[], text="Thank you for the report.")).value
    True
    """

    def declare(function: Callable[[Turn, Item | None], Judged]) -> Evaluator:
        name = getattr(function, "__name__", str(function))
        check_name("evaluator", name)
        check_plain(f"evaluator '{name}'", function, ["turn", "item"])
        return Evaluator(name, function, gate=gate, needs_expected=needs_expected, source=source_of(function))

    return declare if function is None else declare(function)


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

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> local = tt.Endpoint("local", url="loopback")
    >>> tt.Judge("helpful", endpoint=local, model="judge", rubric="It names the next step.").scale
    'pass_fail'
    """

    name: str
    _: KW_ONLY
    endpoint: Endpoint
    model: str
    rubric: str
    scale: Literal["pass_fail", "score"] = "pass_fail"
    labels: FileSource | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        check_name("Judge", self.name)
        where = f"Judge '{self.name}'"
        check_kind(f"{where}: endpoint", self.endpoint, Endpoint)
        check_text(f"{where}: model", self.model, "judge-model")
        check_text(f"{where}: rubric", self.rubric, "The answer names the next step.")
        check_choice(f"{where}: scale", self.scale, ("pass_fail", "score"))
        if self.labels is not None:
            check_kind(f"{where}: labels", self.labels, FileSource)
        check_count(f"{where}: repeats", self.repeats)
        if self.scale == "pass_fail" and self.repeats % 2 == 0:
            raise DefinitionError(f"{where}: repeats is {self.repeats}; expected an odd number, as the majority counts")

    @property
    def version(self) -> str:
        """Twelve hex digits over model, rubric, scale and repeats. A calibration holds for one version."""
        text = repr((self.endpoint.name, self.model, self.rubric, self.scale, self.repeats))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


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

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> tickets = tt.EvalSet("tickets", source="evals/tickets.jsonl", inputs=["ticket"], tags=["language"])
    >>> tickets.expected, tickets.tags
    ('expected', ('language',))
    """

    name: str
    _: KW_ONLY
    source: str | FileSource
    inputs: Sequence[str] | str = "messages"
    expected: str | None = "expected"
    tags: Sequence[str] = ()
    cluster: str | None = None

    def __post_init__(self) -> None:
        check_name("EvalSet", self.name)
        where = f"EvalSet '{self.name}'"
        if not isinstance(self.source, FileSource):
            check_text(f"{where}: source", self.source, f"evals/{self.name}.jsonl")
            if not self.source.lower().endswith(FORMATS):
                raise DefinitionError(
                    f"{where}: source is '{self.source}'; expected a file that ends in {', '.join(FORMATS)}"
                )
        if isinstance(self.inputs, str):
            check_text(f"{where}: inputs", self.inputs, "messages")
        else:
            self.inputs = check_columns(f"{where}: inputs", self.inputs)
            if not self.inputs:
                raise DefinitionError(f"{where} has no inputs; name the columns with the variables of the prompt")
        for argument in ("expected", "cluster"):
            if (column := getattr(self, argument)) is not None:
                check_text(f"{where}: {argument}", column, argument)
        self.tags = check_columns(f"{where}: tags", self.tags)
        if self.expected is not None and self.expected in self.input_columns:
            raise DefinitionError(f"{where}: '{self.expected}' is an input, so the model would be told the answer")

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Columns with variables, or the one with messages."""
        return (self.inputs,) if isinstance(self.inputs, str) else tuple(self.inputs)

    @property
    def path(self) -> str:
        """Path of the file or files, relative to the project folder."""
        return self.source if isinstance(self.source, str) else self.source.path


class Eval:
    """A set of examples with the evaluators that judge the answers to it.

    Args:
        set: the examples.
        evaluators: run on them, and on sampled live turns where they need no expected answer.

    Raises:
        DefinitionError: an argument is wrong, or two evaluators have the same name.

    >>> import trimtab as tt
    >>> tickets = tt.EvalSet("tickets", source="evals/tickets.jsonl", inputs=["ticket"])
    >>> [each.name for each in tt.Eval(tickets, tt.exact(), tt.json_schema(), tt.no_pii()).evaluators]
    ['exact', 'json_schema', 'no_pii']
    """

    def __init__(self, set: EvalSet, *evaluators: Evaluator | Judge) -> None:
        check_kind("Eval: set", set, EvalSet)
        where = f"Eval of set '{set.name}'"
        if not evaluators:
            raise DefinitionError(f"{where} has no evaluators; add some, such as: tt.Eval({set.name}, tt.exact())")
        names: dict[str, Evaluator | Judge] = {}
        given: tuple[Any, ...] = evaluators
        for each in given:
            if not isinstance(each, Evaluator | Judge):
                made = getattr(each, "__name__", "")
                hint = f"; call it: tt.{made}()" if made in FACTORIES else ""
                raise DefinitionError(
                    f"{where}: {each!r} is no evaluator; expected tt.exact() and the like, a tt.Judge, or a function "
                    f"with the decorator @tt.evaluator{hint}"
                )
            if each.name in names:
                raise DefinitionError(
                    f"{where} has two evaluators named '{each.name}'; give one another name, such as "
                    f"tt.{each.name}(..., name='{each.name}_2')"
                )
            if isinstance(each, Evaluator) and each.needs_expected and set.expected is None:
                raise DefinitionError(
                    f"{where}: evaluator '{each.name}' needs the expected answer, and the set has expected=None"
                )
            names[each.name] = each
        self.set = set
        self.evaluators = evaluators


FACTORIES = (
    "exact",
    "contains",
    "regex",
    "json_schema",
    "close_to",
    "similar",
    "word_list",
    "no_pii",
    "tool_calls",
    "latency",
    "cost",
)
"""Functions of `trimtab` that make evaluators; they must be called."""
