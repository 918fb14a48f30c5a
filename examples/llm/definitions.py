"""Ticket triage: a prompt sorts the tickets of a shop into five queues.

It runs without a key and without network: the endpoint "loopback" is a stand-in on this machine that sorts by
common words. For a language model change URL, key and prices of `endpoint`, and `model` of the prompt.
"""

from typing import Literal

from pydantic import BaseModel

import trimtab as tt


class Triage(BaseModel):
    """What an answer must be: JSON with one of the queues."""

    queue: Literal["billing", "delivery", "returns", "account", "technical"]


endpoint = tt.Endpoint(
    "desk_llm",
    url="loopback",  # such as https://llm.example.com/v1, and then key="NAME_OF_A_VARIABLE"
    prices={  # for a million tokens
        "classifier": tt.Price(input=0.15, output=0.60),
        "reflector": tt.Price(input=0.15, output=0.60),  # proposes texts for `trimtab tune`
    },
)

# 300 tickets with the queue that they belong to. Tickets of one customer are alike, so customers are the units.
tickets = tt.EvalSet(
    "tickets",
    source="data/tickets.jsonl",
    inputs=["ticket"],
    expected="queue",
    tags=["channel"],
    cluster="customer",
)

triage = tt.Prompt(
    "triage",
    file="prompts/triage.md",
    endpoint=endpoint,
    model="classifier",
    output=Triage,
    evals=[tt.Eval(tickets, tt.exact(field="queue"), tt.json_schema(), tt.no_pii())],
    quality="exact",
)
