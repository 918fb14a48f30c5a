"""A small project with one prompt, for tests."""

from __future__ import annotations

import json
from pathlib import Path

DEFINITIONS = """\
from pydantic import BaseModel

import trimtab as tt


class Triage(BaseModel):
    queue: str


local = tt.Endpoint("local", url="loopback", prices={"classifier": tt.Price(input=0.15, output=0.6, cached=0.075)})
tickets = tt.EvalSet("tickets", source="evals/tickets.jsonl", inputs=["ticket"], tags=["language"])
triage = tt.Prompt(
    "triage",
    file="prompts/triage.md",
    endpoint=local,
    model="classifier",
    output=Triage,
    evals=[tt.Eval(tickets, tt.exact(field="queue"), tt.json_schema())],
)
"""
PROMPT = """\
---
description: sorts tickets into two queues
params: { temperature: 0, max_completion_tokens: 60 }
variables:
  product: { trusted: true, default: Acme }
  ticket: { max_chars: 400 }
examples:
  - { inputs: { ticket: "I was charged twice" }, expected: { queue: billing } }
tune: [instructions, examples]
---
# system
<!-- section: instructions -->
Sort the ticket about {{ product }} into one queue:
- billing: charged, invoice, refund
- delivery: parcel, late, courier
<!-- /section -->
Answer with JSON: \\{{"queue": ...}}.

# user
{{ ticket }}
"""
ITEMS = [
    {"ticket": f"ticket {number}: {text}", "expected": queue, "language": "en"}
    for number in range(30)
    for text, queue in (("an invoice is wrong", "billing"), ("the parcel is late", "delivery"))
]


def write_prompt_project(
    folder: Path, *, prompt: str = PROMPT, definitions: str = DEFINITIONS, policy: str = "project: desk\n"
) -> Path:
    """Write the files of the project and return its folder."""
    for name, text in {
        "definitions.py": definitions,
        "trimtab.yaml": policy,
        "prompts/triage.md": prompt,
        "evals/tickets.jsonl": "".join(json.dumps(item) + "\n" for item in ITEMS),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
