"""The section `llm` of trimtab.yaml: how prompts are served, judged, compared and tuned, and what they may cost."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from trimtab import units
from trimtab.errors import nearest
from trimtab.policy.llm.rates import Rate, SpendLimit
from trimtab.policy.section import Section
from trimtab.policy.values import Bytes, Confidence, Duration, Share

SECOND, MINUTE, HOUR, DAY = (units.MICROS[unit] for unit in ("s", "m", "h", "d"))
Kept = Literal["full", "masked", "hash"]
Purpose = Literal["serve", "shadow", "judge", "eval", "tune"]
METRICS = ("thumbs_down", "edited")
JUDGED = re.compile(r"(?:judge|human):[A-Za-z0-9_.-]+")
"""Further bad events: verdicts of a judge, or of people, by name and without a version."""


def _compiles(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is no regular expression: {error}") from None
    return text


Expression = Annotated[str, AfterValidator(_compiles)]


class KeptText(Section):
    """What is kept of messages, beside the numbers of a turn."""

    messages: Kept = "masked"
    """full: as they are; masked: with `<EMAIL_1>` and the like in the place of what `redact` finds; hash: an HMAC, and
    the length."""
    traces: Kept = "hash"
    """The same in spans; not more than `messages`."""
    keep: Duration = 30 * DAY
    """How long text is kept; the numbers of a turn stay as long as the prediction log keeps them."""
    key: str | None = None
    """Name of the secret that text, users and conversations are hashed with; left out, a key that the project makes."""

    @model_validator(mode="after")
    def _traces_are_stricter(self) -> KeptText:
        order = ("full", "masked", "hash")
        if order.index(self.traces) < order.index(self.messages):
            raise ValueError(
                f"traces: {self.traces} would show more than messages: {self.messages}; expected {self.messages} or "
                f"{' or '.join(order[order.index(self.messages) + 1 :]) or self.messages}"
            )
        return self


class Redaction(Section):
    """What is masked before anything is logged, traced or cached."""

    detect: list[Literal["email", "phone", "card", "iban", "ip", "secret"]] = [
        "email",
        "phone",
        "card",
        "iban",
        "ip",
        "secret",
    ]
    """Kinds that are found by form and check digits."""
    patterns: list[Expression] = []
    """Further regular expressions."""
    outbound: bool = False
    """Whether answers to clients are masked, too; streams are then delayed by 64 characters."""


class CallTimeouts(Section):
    """How long an endpoint may take."""

    connect: Duration = 5 * SECOND
    """To connect."""
    first_token: Duration = 30 * SECOND
    """Until the first token, with all reasoning before it."""
    between_tokens: Duration = 15 * SECOND
    """Between two tokens."""
    total: Duration = 5 * MINUTE
    """For the whole answer."""


class TokenLimits(Section):
    """What one token may ask for."""

    requests: Rate | None = "600/min"
    """Requests."""
    tokens: Rate | None = "200000/min"
    """Input and output tokens."""
    concurrent: int = Field(default=100, gt=0)
    """Requests at once."""
    output_tokens: int = Field(default=1024, gt=0)
    """Most tokens of an answer, where neither prompt nor request says less."""
    input: Bytes = 10**6
    """Largest sum of all messages."""


class SpendBudget(Section):
    """What a scope may spend in a period."""

    limit: SpendLimit
    """Such as 20/day, in the currency of `impact`; a period begins at midnight UTC, a week on Monday."""
    when_spent: Literal["refuse", "fallback"] = "refuse"
    """refuse: 429 with the time of the reset; fallback: the first of the prompt's fallbacks that costs nothing."""


class CallRetry(Section):
    """What is asked again, before the first token only."""

    attempts: int = Field(default=2, ge=1, le=10)
    """Attempts at each endpoint."""
    on: list[Literal["connect", "timeout", "429", "5xx"]] = ["connect", "timeout", "429", "5xx"]
    """Failures that are asked again."""

    @field_validator("on", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        return [str(each) for each in given] if isinstance(given, list) else given  # YAML reads 429 as a number


class AnswerFormat(Section):
    """Answers that do not fit the prompt's schema."""

    invalid: Literal["retry_then_fail", "fail", "pass"] = "retry_then_fail"
    """retry_then_fail: asked again, then 502; fail: 502 at once; pass: the client gets them. A stream is checked at its
    end, and an error event says that it does not fit."""
    retries: int = Field(default=1, ge=0, le=5)
    """How often it is asked again."""


class AnswerCache(Section):
    """Answers to the very same request, at temperature 0."""

    enabled: bool = False
    """Whether answers are cached."""
    keep: Duration = HOUR
    """How long."""
    scope: Literal["token", "project"] = "token"
    """Who may get an answer that another request has bought."""


class ShadowTurns(Section):
    """Turns that a shadow answers, too."""

    sample: Share = 0.1
    """Share of the conversations."""
    budget: SpendLimit = "2/day"
    """What shadows may spend."""
    queue: int = Field(default=100, gt=0)
    """Turns that may wait; further ones are dropped and counted."""


class PromptEvaluation(Section):
    """Runs of prompts on their sets of examples."""

    concurrent: int = Field(default=8, gt=0, le=256)
    """Calls at once."""
    repeats: int = Field(default=1, ge=1)
    """Answers to each item, at least."""
    max_repeats: int = Field(default=5, ge=1)
    """Answers to each item, at most, where answers to the same item differ."""
    retries: int = Field(default=3, ge=0)
    """How often a failed call is asked again."""
    budget: float = Field(default=2.0, ge=0)
    """What one evaluation may spend."""
    confidence: Confidence = 0.95
    """Of one-sided bounds."""
    min_items: int = Field(default=50, ge=1)
    """With fewer items nothing passes."""


class QualityGate(Section):
    """The evaluator that decides whether a version is better."""

    not_worse_by: Share | None = None
    """By how much a candidate may at worst be worse; left out, by what the set can show, at most 15 points."""
    max_broken: Share = 0.15
    """Of scores: largest share of items that lose half a point or more, by its upper bound."""


class FormatGate(Section):
    """Answers that fit the schema."""

    min: Share = 0.98
    """Smallest share."""


class SafetyGate(Section):
    """Answers that an evaluator of safety objects to, such as `no_pii` and `word_list`."""

    max: Share = 0.01
    """Largest share."""


class FirstTokenGate(Section):
    """Time to the first token."""

    p95: Duration = 3 * SECOND
    """Longest 95th percentile."""


class CostGate(Section):
    """Cost of a turn."""

    per_turn: float = Field(default=0.01, gt=0)
    """Largest mean."""


class TagGate(Section):
    """Results by tag."""

    worse_at: float = Field(default=0.05, gt=0, lt=0.5)
    """Level at which a tag counts as worse, over all tags (Holm 1979)."""
    min_items: int = Field(default=20, ge=1)
    """Tags with fewer items are shown, and refuse nothing."""


class PromptGates(Section):
    """What a version of a prompt must pass."""

    quality: QualityGate = QualityGate()
    """Not worse than the champion."""
    format: FormatGate = FormatGate()
    """Fits the schema."""
    safety: SafetyGate = SafetyGate()
    """Harmless."""
    first_token: FirstTokenGate = FirstTokenGate()
    """Quick enough."""
    cost: CostGate = CostGate()
    """Cheap enough."""
    tags: TagGate = TagGate()
    """Worse in no tag."""
    item_pass: Share | None = None
    """Share of its repeats that each single item must pass; left out, single items refuse nothing."""


class JudgeRules(Section):
    """Language models that judge."""

    min_labels: int = Field(default=100, ge=1)
    """Verdicts of people that a judge needs before it may gate."""
    min_kappa: float = Field(default=0.4, ge=0, le=1)
    """Smallest agreement beyond chance, by its lower bound (Cohen 1960)."""
    min_labels_challenger: int = Field(default=50, ge=1)
    """Verdicts on turns that people judged for both versions, before their difference is corrected."""
    sample: Share = 0.05
    """Share of live turns that are judged."""
    budget: SpendLimit = "2/day"
    """What judging may spend."""
    recheck: Duration = 30 * DAY
    """An older calibration does not count."""


class TurnTopics(Section):
    """How the texts of turns become topics, which monitoring watches."""

    embed: Literal["tfidf", "all-minilm-l6-v2"] = "tfidf"
    """tfidf: by their words; all-minilm-l6-v2: by sentence embeddings, which need the extra `embeddings`."""


class PromotePrompt(Section):
    """What promotes a challenger of a prompt.

    Its confidence is `rollout.promote_when.confidence`. With `by: judge` all other keys of `rollout.promote_when` hold,
    too. It holds for a shadow alone: in a split the same users come back window after window, so windows that are taken
    as independent promote in up to 23 % of the cases where nothing differs.
    """

    by: Literal["feedback", "judge"] | None = None
    """feedback: bad events of conversations, or of users (`sticky`), split between both; judge: a shadow, paired turn
    by turn. Left out: judge where `rollout.strategy` is shadow, else feedback."""
    metric: str = "thumbs_down"
    """The bad event: thumbs_down, edited, or a judge as judge:NAME."""
    smallest_effect: Share = 0.1
    """Smallest relative reduction of bad events worth having; a challenger that surely has less is abandoned."""
    tolerate: float = Field(default=0.0, ge=0)
    """By how much more often, relative to the champion, bad events may at worst come with the challenger: 0.1 promotes
    what is shown to be at most 10 % worse. 0 promotes what is shown to be better."""
    max_conversations: int = Field(default=40_000, gt=0)
    """Without a verdict after so many, the challenger is abandoned."""
    user_period: Duration = 7 * DAY
    """With `sticky: user`: how long the conversations of a user count, from the first one on."""

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in METRICS and not JUDGED.fullmatch(metric):
            raise ValueError(
                f"'{metric}' is no bad event; expected thumbs_down, edited, judge:NAME or human:NAME."
                f"{nearest(metric, METRICS)}"
            )
        return metric

    def evidence_for(self, strategy: str) -> Literal["feedback", "judge"]:
        """Return what decides under a strategy of `rollout`."""
        return self.by or ("judge" if strategy == "shadow" else "feedback")


class PromptSearch(Section):
    """Search for a better prompt."""

    budget: float = Field(default=5.0, ge=0)
    """What one search may spend."""
    calls: int | None = Field(default=None, gt=0)
    """Most calls; left out, as the budget allows."""
    validation: Share = 0.3
    """Share of the items that proposals are compared on."""
    held_out: Share = 0.3
    """Share of the items for the one test at the end; what is left is for training."""
    accept_p: float = Field(default=0.05, gt=0, lt=0.5)
    """Level of that test, spent over all searches on the same held-out items."""
    endpoint: str | None = None
    """Endpoint of the model that proposes changes; left out, that of the prompt."""
    model: str | None = None
    """Model that proposes changes; left out, that of the prompt."""


class Llm(Section):
    """Prompts: language models behind an interface like OpenAI's."""

    port: int | None = Field(default=None, ge=0, le=65535)
    """Port of the gateway of prompts; left out, `serving.port` in a project without models, else the port after it."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that answer."""
    store: KeptText = KeptText()
    """What is kept of messages."""
    redact: Redaction = Redaction()
    """What is masked."""
    timeouts: CallTimeouts = CallTimeouts()
    """How long endpoints may take."""
    limits: TokenLimits = TokenLimits()
    """What one token may ask for."""
    token_limits: dict[str, TokenLimits] = {}
    """Limits by name, for tokens that are made with `--limits NAME`."""
    budgets: dict[str, SpendBudget] = {}
    """By scope: `project`, `prompt:NAME`, `purpose:NAME`, and for each one `token`, `user`, `tenant`, `conversation`;
    other names are for tokens that are made with `--budget NAME`."""
    retry: CallRetry = CallRetry()
    """What is asked again."""
    output: AnswerFormat = AnswerFormat()
    """Answers that do not fit."""
    disconnect: Literal["cancel", "drain"] = "cancel"
    """When a client leaves. cancel: the endpoint is hung up on; drain: read on for 30 s at most, so that the bill is
    exact."""
    cache: AnswerCache = AnswerCache()
    """Answers to the same request."""
    sticky: Literal["conversation", "user"] = "conversation"
    """What stays with one version."""
    shadow: ShadowTurns = ShadowTurns()
    """Turns that a shadow answers."""
    evaluate: PromptEvaluation = PromptEvaluation()
    """Runs on sets of examples."""
    gates: PromptGates = PromptGates()
    """What a version must pass."""
    judge: JudgeRules = JudgeRules()
    """Language models that judge."""
    topics: TurnTopics = TurnTopics()
    """Topics of the texts of turns."""
    promote: PromotePrompt = PromotePrompt()
    """What promotes a challenger."""
    tune: PromptSearch = PromptSearch()
    """Search for a better prompt."""
    overrides: list[str] = []
    """Parameters of a request that take the place of the prompt's, such as temperature. Without being named here,
    requests may have stream, stream_options, max_completion_tokens (downwards), user and metadata."""
    passthrough: bool = False
    """Whether clients may name "endpoint/model" instead of a prompt."""
