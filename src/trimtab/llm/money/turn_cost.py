"""What a turn cost, in integers of 1e-12 of the currency, and the most that it can cost before it is asked.

Inclusive usage (OpenAI): cached tokens are among the input tokens. Exclusive usage (Anthropic, Bedrock): they are not.
Reasoning is among the output tokens, or separate. Parts that contradict one another count at their dearest reading, and
the result says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from trimtab.bundle.prompt_spec import EndpointSpec, PriceSpec, TargetSpec
from trimtab.errors import DataError, nearest
from trimtab.llm.completion import Usage
from trimtab.llm.money.token_estimates import BytesPerToken

ALWAYS = "always"
"""Version of a price without `since`."""
MESSAGE_TOKENS = 16
"""Most tokens that a chat template adds to a message."""
TEXT_PARTS = ("text", "refusal", "output_text", "input_text")


class TurnCost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one turn or attempt."""

    cost: int
    """In 1e-12 of the currency."""
    usage: Usage
    """Tokens in one form: cached and written ones are among `input`, reasoning is among `output`."""
    price_version: str
    """`since` of the price."""
    contradiction: str = ""
    """What does not fit in the endpoint's report, in words; empty when all does."""


def price_at(target: TargetSpec, at: datetime) -> PriceSpec:
    """Return the price of a model that holds at a time. Raises DataError when there is none."""
    prices = target.endpoint.prices.get(target.model)
    where = f"endpoint '{target.endpoint.name}'"
    if prices is None:
        raise DataError(f"{where} has no price of '{target.model}'.{nearest(target.model, target.endpoint.prices)}")
    day = at.astimezone(UTC).date().isoformat()
    held = [price for price in prices if price.since <= day]
    if not held:
        raise DataError(
            f"{where}: no price of '{target.model}' holds on {day}; the first one is since {prices[0].since}"
        )
    return max(held, key=lambda price: price.since)


def cost_of(usage: Usage, price: PriceSpec, endpoint: EndpointSpec) -> TurnCost:
    """Return what a report of an endpoint costs. Raises DataError for negative tokens."""
    if min(usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning, usage.total) < 0:
        raise DataError(f"endpoint '{endpoint.name}' reports a negative number of tokens: {usage}")
    cached_price = price.input if price.cached is None else price.cached
    written_price = price.input if price.cache_write is None else price.cache_write
    reasoning_price = price.output if price.reasoning is None else price.reasoning
    apart = usage.cached + usage.cache_write
    of_apart = usage.cached * cached_price + usage.cache_write * written_price
    wrong = []
    if endpoint.usage == "exclusive":
        read, cost = usage.input + apart, usage.input * price.input + of_apart
    elif apart <= usage.input:
        read, cost = usage.input, (usage.input - apart) * price.input + of_apart
    else:
        wrong.append(f"{apart:,} cached and written tokens of {usage.input:,} input tokens")
        read, cost = usage.input + apart, max(usage.input * price.input + of_apart, apart * price.input)
    if endpoint.reasoning == "separate":
        written = usage.output + usage.reasoning
        cost += usage.output * price.output + usage.reasoning * reasoning_price
    elif usage.reasoning <= usage.output:
        written = usage.output
        cost += (usage.output - usage.reasoning) * price.output + usage.reasoning * reasoning_price
    else:
        wrong.append(f"{usage.reasoning:,} reasoning tokens of {usage.output:,} output tokens")
        written = usage.output + usage.reasoning
        cost += usage.output * price.output + usage.reasoning * reasoning_price
    hidden = max(0, usage.total - read - written) if usage.total else 0
    if hidden:  # Gemini's interface leaves reasoning out of the output, and counts it in the total
        if endpoint.reasoning == "in_output" or usage.reasoning:
            wrong.append(f"{usage.total:,} tokens in all, but {read:,} input and {written:,} output tokens")
        written += hidden
        cost += hidden * max(price.output, reasoning_price)
    one_form = msgspec.structs.replace(
        usage, input=read, output=written, reasoning=usage.reasoning + hidden, total=read + written
    )
    return TurnCost(cost=cost, usage=one_form, price_version=price.since or ALWAYS, contradiction="; ".join(wrong))


class CostMeter:
    """Prices turns, and learns of endpoints and models how many bytes a token has. Not shared between threads."""

    def __init__(self) -> None:
        self._endpoints: dict[str, BytesPerToken] = {}
        self._models: dict[tuple[str, str], BytesPerToken] = {}

    def turn(
        self, target: TargetSpec, at: datetime, usage: Usage | None, *, sent: int, received: int, counted: bool = False
    ) -> TurnCost:
        """Return the cost of a turn, of a part of one that was cut off, or of an attempt that failed.

        Args:
            target: endpoint and model.
            at: when it was asked.
            usage: the endpoint's report; None: it gave none, and tokens are estimated.
            sent: UTF-8 bytes of messages, tools and schema.
            received: UTF-8 bytes of text, refusals and arguments of tools.
            counted: `usage` comes from the endpoint's tokenizer, not from its report.

        Raises:
            DataError: the model has no price.
        """
        price, endpoint = price_at(target, at), target.endpoint
        ratios = self._models.get((endpoint.name, target.model))
        if ratios is None:
            wider = self._endpoints.setdefault(endpoint.name, BytesPerToken())
            ratios = self._models[endpoint.name, target.model] = BytesPerToken(wider)
        guess = ratios.estimate(sent, received)
        if usage is None:
            return cost_of(guess, price, PLAIN)
        if counted:
            return cost_of(msgspec.structs.replace(usage, kind="counted"), price, endpoint)
        silent = [part for part, size in (("input", sent), ("output", received)) if size and not getattr(usage, part)]
        if silent and usage.total <= usage.input + usage.output:
            filled = {part: getattr(guess, part) for part in silent}
            found = cost_of(msgspec.structs.replace(usage, kind="estimated", **filled), price, endpoint)
            wrong = f"no {' and no '.join(silent)} tokens are reported"
            return msgspec.structs.replace(
                found, contradiction="; ".join(each for each in (found.contradiction, wrong) if each)
            )
        found = cost_of(usage, price, endpoint)
        if not found.contradiction:
            ratios.learn(sent, received, found.usage)
        return found


PLAIN = EndpointSpec(name="", url="")
"""An endpoint whose usage is inclusive, as that of estimates is."""


def input_bound(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    schema: Mapping[str, Any] | None = None,
    *,
    media: int | None = None,
    first: int = 0,
) -> int:
    """Return the most input tokens of a request: a byte-level tokenizer makes at most one token of each byte.

    Args:
        messages: in OpenAI's shape.
        tools: functions that the model may call; providers rewrite them, so they count twice.
        schema: of the answer; counts twice as well.
        media: most tokens of one image, sound or file; None: such a message is refused.
        first: the number of `messages[0]` in errors; below 0 where a template precedes what a client sent.

    Raises:
        DataError: a part of a message is no text, and `media` is None.
    """
    parts = 0
    kept: Sequence[Mapping[str, Any]] = messages
    if any(isinstance(message.get("content"), list) for message in messages):
        kept = []
        for number, message in enumerate(messages):
            content = message.get("content")
            if isinstance(content, list):
                texts = [part for part in content if _is_text(part)]
                if len(texts) < len(content) and media is None:
                    kind = next(part for part in content if not _is_text(part))
                    raise DataError(
                        f"messages[{number + first}]: a part of type '{kind.get('type')}' has no known bound of "
                        "tokens, so no budget can hold it; expected parts of type text"
                    )
                parts += len(content) - len(texts)
                message = {**message, "content": texts}
            kept.append(message)
    size = len(msgspec.json.encode(kept))
    for extra in (tools, schema):
        size += 2 * len(msgspec.json.encode(extra)) if extra else 0
    return size + MESSAGE_TOKENS * len(messages) + parts * (media or 0)


def _is_text(part: Any) -> bool:
    return not isinstance(part, Mapping) or part.get("type") in TEXT_PARTS


def cost_bound(target: TargetSpec, at: datetime, input_tokens: int, output_tokens: int, n: int = 1) -> int:
    """Return the most that a request can cost, in 1e-12 of the currency. Raises DataError without a price.

    Args:
        target: endpoint and model.
        at: when it is asked.
        input_tokens: from `input_bound`.
        output_tokens: most tokens of one answer, reasoning among them.
        n: answers.
    """
    price = price_at(target, at)
    read = max(price.input, price.cached or 0, price.cache_write or 0)
    return input_tokens * read + n * output_tokens * max(price.output, price.reasoning or 0)
