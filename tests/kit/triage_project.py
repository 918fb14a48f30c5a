"""A small project with one prompt: it sorts tickets into three queues, by the loopback provider's `classifier`."""

from __future__ import annotations

import json
import random
from pathlib import Path

DEFINITIONS = """
import trimtab as tt

local = tt.Endpoint("local", url="loopback", prices={"*MODEL*": tt.Price(input=1, output=2)})
tickets = tt.EvalSet("tickets", source="evals/tickets.jsonl", inputs=["ticket"], expected="queue", tags=["lang"])
triage = tt.Prompt(
    "triage", file="prompts/triage.md", endpoint=local, model="*MODEL*", evals=[tt.Eval(tickets, *EVALUATORS*)]
)
"""
GOOD = {
    "billing": "invoice, charged, refund, payment",
    "access": "password, login, locked, account",
    "shipping": "parcel, delivery, courier, address",
}
HARMFUL = GOOD | {"shipping": "anything else"}
"""The queue `shipping` has lost its words."""
PROMPT = """---
params: { temperature: 0, max_completion_tokens: 20 }
variables: { ticket: { max_chars: 2000 } }
tune: [instructions]
---
# system
<!-- section: instructions -->
Sort the ticket into one queue. Answer with the name of the queue only.
*QUEUES*
# user
{{ ticket }}
"""
POLICY = """
project: tickets
impact: { currency: EUR }
"""


def write_triage(
    folder: Path,
    *,
    items: int = 60,
    model: str = "classifier",
    evaluators: str = "tt.exact()",
    policy: str = "",
    seed: int = 0,
) -> Path:
    """Write the project with its good prompt, and return the folder. policy: more lines of trimtab.yaml."""
    chance = random.Random(seed)
    folder.mkdir(exist_ok=True)
    (folder / "definitions.py").write_text(
        DEFINITIONS.replace("*MODEL*", model).replace("*EVALUATORS*", evaluators), encoding="utf-8"
    )
    (folder / "trimtab.yaml").write_text(POLICY + policy, encoding="utf-8")
    (folder / "evals").mkdir(exist_ok=True)
    rows = []
    for n in range(items):
        queue = sorted(GOOD)[n % len(GOOD)]
        words = chance.sample(GOOD[queue].split(", "), 2)
        ticket = f"Ticket {n}: my {words[0]} has a problem, and so has the {words[1]}"
        rows.append({"ticket": ticket, "queue": queue, "lang": "en" if n % 2 else "de"})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "evals" / "tickets.jsonl").write_text(text, encoding="utf-8")
    write_text(folder, GOOD)
    return folder


def write_text(folder: Path, queues: dict[str, str]) -> None:
    """Write the text of the prompt with these queues."""
    (folder / "prompts").mkdir(exist_ok=True)
    listed = "\n".join(f"- {name}: {words}" for name, words in queues.items())
    (folder / "prompts" / "triage.md").write_text(PROMPT.replace("*QUEUES*", listed), encoding="utf-8")
