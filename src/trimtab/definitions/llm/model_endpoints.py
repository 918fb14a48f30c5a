"""Endpoints: servers of language models with OpenAI's interface, and what they charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from trimtab.definitions.secrets import Secret
from trimtab.places import Placed

UsageShape = Literal["inclusive", "exclusive"]
ReasoningShape = Literal["in_output", "separate"]
LOOPBACK = "loopback"
"""URL of an endpoint that Trimtab starts itself on this machine: a deterministic stand-in for a language model."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one model of an endpoint charges, in the currency of `impact`, for a million tokens.

    Args:
        input: of the prompt.
        output: of the answer.
        cached: of prompt tokens that the endpoint had cached; None: as `input`.
        cache_write: of prompt tokens that it writes into its cache; None: as `input`.
        reasoning: of hidden reasoning; None: as `output`.
        since: ISO date from which it holds; None: always.

    >>> import trimtab as tt
    >>> tt.Price(input=0.15, output=0.60, cached=0.075).output
    0.6
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None
    since: str | None = None


@dataclass
class Endpoint(Placed):
    """A server of language models with OpenAI's interface.

    Args:
        name: letters, digits and single underscores.
        url: its base URL, such as https://llm.example.com/v1; "loopback" is a deterministic stand-in on this machine.
        key: the secret that is sent as bearer token to this host alone; None: none.
        prices: by model what it charges; a list holds prices with different `since`.
        usage: "inclusive": cached tokens are part of the input tokens that it reports, as OpenAI does; "exclusive":
            they are reported beside them, as Anthropic does.
        reasoning: whether hidden reasoning is part of the output tokens that it reports, or "separate".
        requests: most requests, such as "600/min"; None: any number.
        tokens: most tokens, such as "200000/min"; None: any number.
        concurrent: most requests at once.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> local = tt.Endpoint("local", url="http://127.0.0.1:11434/v1", prices={"small": tt.Price(input=0, output=0)})
    >>> local.concurrent
    50
    """

    name: str
    _: KW_ONLY
    url: str
    key: str | Secret | None = None
    prices: Mapping[str, Price | Sequence[Price]] = field(default_factory=dict)
    usage: UsageShape = "inclusive"
    reasoning: ReasoningShape = "in_output"
    requests: str | None = None
    tokens: str | None = None
    concurrent: int = 50
