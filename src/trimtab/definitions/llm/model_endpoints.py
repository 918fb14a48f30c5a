"""Endpoints: servers of language models with OpenAI's interface, and what they charge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal, TypeGuard, get_args
from urllib.parse import urlsplit

from trimtab import units
from trimtab.definitions.arguments import check_kind, check_name, check_text
from trimtab.definitions.feature_types import check_choice
from trimtab.definitions.secrets import Secret
from trimtab.errors import DefinitionError
from trimtab.places import Placed

UsageShape = Literal["inclusive", "exclusive"]
ReasoningShape = Literal["in_output", "separate"]
LOOPBACK = "loopback"
"""URL of an endpoint that Trimtab starts itself on this machine: a deterministic stand-in for a language model."""
PICO_A_TOKEN = 10**6
"""A price of 1 for a million tokens is 1e-6 a token, which is so many integers of 1e-12."""
PLACES = 6
"""Digits after the point of a price, so that it is a whole number of 1e-12 a token."""
COMPLETIONS = "/chat/completions"


def is_number(value: object) -> TypeGuard[float]:
    """Return True for a finite number that is no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_count(where: str, value: object) -> None:
    """Check that a value is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DefinitionError(f"{where} is {value!r}; expected a whole number from 1 on")


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one model of an endpoint charges, in the currency of `impact`, for a million tokens.

    Args:
        input: of the prompt.
        output: of the answer.
        cached: of prompt tokens that the endpoint had cached; None: as `input`.
        cache_write: of prompt tokens that it writes into its cache; None: as `input`.
        reasoning: of hidden reasoning; None: as `output`.
        since: ISO date from which it holds, at midnight UTC; None: always.

    Raises:
        DefinitionError: a price is no number from 0 on with at most six decimals, or `since` is no date.

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

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached", "cache_write", "reasoning"):
            value = getattr(self, name)
            if value is None and name not in ("input", "output"):
                continue
            if not is_number(value) or value < 0:
                raise DefinitionError(f"Price: {name} is {value!r}; expected a number from 0 on, for a million tokens")
            if round(Decimal(repr(value)), PLACES) != Decimal(repr(value)):
                raise DefinitionError(f"Price: {name} is {value!r}; expected at most {PLACES} decimals")
        if self.since is not None:
            check_text("Price: since", self.since, "2026-01-31")
            try:
                date.fromisoformat(self.since)
            except ValueError:
                raise DefinitionError(f"Price: since is '{self.since}'; expected a date, such as 2026-01-31") from None

    def pico(self, name: str) -> int | None:
        """Return one of its prices in integers of 1e-12 of the currency a token; None where it is left out."""
        value = getattr(self, name)
        return None if value is None else int(Decimal(repr(value)) * PICO_A_TOKEN)


@dataclass
class Endpoint(Placed):
    """A server of language models with OpenAI's interface.

    Args:
        name: letters, digits and single underscores.
        url: its base URL, such as https://llm.example.com/v1; "loopback" is a deterministic stand-in on this machine.
        key: the secret that is sent as bearer token to this host alone, by the name of its environment variable; None:
            none.
        prices: by model what it charges; a list holds prices with different `since`. Models of "loopback" that are not
            listed are free; those of other endpoints must be listed.
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

    def __post_init__(self) -> None:
        check_name("Endpoint", self.name)
        where = f"Endpoint '{self.name}'"
        self.url = _base_url(where, self.url)
        if isinstance(self.key, str):
            self.key = _secret(where, self.key)
        elif self.key is not None:
            check_kind(f"{where}: key", self.key, Secret, "tt.secret")
        given: Any = self.prices
        if not isinstance(given, Mapping):
            raise DefinitionError(
                f"{where}: prices is {given!r}; expected a mapping, such as "
                "{'small': tt.Price(input=0.15, output=0.6)}"
            )
        self.prices = {model: _dated(f"{where}: prices of '{model}'", price) for model, price in given.items()}
        check_choice(f"{where}: usage", self.usage, get_args(UsageShape))
        check_choice(f"{where}: reasoning", self.reasoning, get_args(ReasoningShape))
        for argument in ("requests", "tokens"):
            if (rate := getattr(self, argument)) is not None:
                try:
                    units.per_period(rate, units.RATE_SECONDS)
                except ValueError as error:
                    raise DefinitionError(f"{where}: {argument}: {error}") from None
        check_count(f"{where}: concurrent", self.concurrent)

    @property
    def key_name(self) -> str | None:
        """Name of the secret."""
        return self.key.name if isinstance(self.key, Secret) else None

    def prices_of(self, model: str) -> tuple[Price, ...] | None:
        """Return the prices of a model, oldest first; None where it has none. A model of "loopback" is free."""
        found = self.prices.get(model)
        if found is None:
            return (Price(input=0, output=0),) if self.url == LOOPBACK else None
        return (found,) if isinstance(found, Price) else tuple(found)


def _base_url(where: str, url: str) -> str:
    check_text(f"{where}: url", url, "https://llm.example.com/v1")
    if url == LOOPBACK:
        return url
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise DefinitionError(f"{where}: url is no URL: {error}") from None
    if parts.username or parts.password:
        raise DefinitionError(f"{where}: url holds a password; name it instead: key='NAME_OF_ITS_VARIABLE'")
    if parts.scheme not in ("http", "https") or not host:
        raise DefinitionError(
            f"{where}: url is '{url}'; expected one such as https://llm.example.com/v1, or '{LOOPBACK}'"
        )
    if parts.query or parts.fragment:
        raise DefinitionError(f"{where}: url is '{url}'; expected no query and no fragment")
    bare = url.rstrip("/")
    if bare.endswith(COMPLETIONS):
        raise DefinitionError(f"{where}: url is '{url}'; expected the part before {COMPLETIONS}")
    return bare


def _secret(where: str, name: str) -> Secret:
    try:
        return Secret(name.removeprefix("${").removesuffix("}"))
    except DefinitionError:  # its text would show what may be the key itself
        raise DefinitionError(
            f"{where}: key is no name of an environment variable, and is not shown here. A key never stands in a "
            "definition: put it into a variable such as LLM_KEY, and write key='LLM_KEY'"
        ) from None


def _dated(where: str, given: Any) -> tuple[Price, ...]:
    """Return the prices of a model, oldest first."""
    prices = (given,) if isinstance(given, Price) else given
    if not isinstance(prices, Sequence) or isinstance(prices, str) or not prices:
        raise DefinitionError(f"{where} is {given!r}; expected tt.Price(input=..., output=...), or a list of them")
    for each in prices:
        check_kind(where, each, Price, "tt.Price")
    since = [each.since or "" for each in prices]
    for each in since:
        if since.count(each) > 1:
            raise DefinitionError(f"{where}: two of them hold {f'since {each}' if each else 'always'}; give one a date")
    return tuple(sorted(prices, key=lambda price: price.since or ""))
