"""`python -m trimtab.llm.local_model.adapter_training`: train adapters of a local model on pairs of prompt and answer.

Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) of the attention's query and value projections, by AdamW on the
tokens of the answers. The same rows, base, rank, steps and seed give the same files on one machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import TrimtabError
from trimtab.lazy_library import LazyLibrary
from trimtab.llm.local_model.local_weights import load_model, load_tokenizer

if TYPE_CHECKING:
    import peft
    import torch
else:
    peft, torch = LazyLibrary("peft"), LazyLibrary("torch")

BATCH = 4
"""Rows of a step."""
LEARNING_RATE = 1e-3
MEASURED = 8
"""Rows that the loss before and after is measured on."""
LAYERS = ("q_proj", "v_proj")
CONFIG = "adapter_config.json"
IGNORED = -100
"""Label of tokens that count for no loss, in transformers."""


class Pair(msgspec.Struct, kw_only=True):
    """One row: what the user says, and the wanted answer."""

    prompt: str
    answer: str


class TrainedAdapter(msgspec.Struct, kw_only=True):
    """What a training came to. Losses are means per token of the answers, on the first rows."""

    loss_before: float
    loss_after: float
    parameters: int


def train(base: Path, pairs: Sequence[Pair], *, rank: int, steps: int, seed: int, into: Path) -> TrainedAdapter:
    """Train, and write the adapter into a folder, as peft saves it. Raises DataError."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    tokenizer = load_tokenizer(base)
    rules = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(LAYERS), task_type="CAUSAL_LM")
    model = peft.get_peft_model(load_model(base), rules)
    rows = [_tokens(tokenizer, pair) for pair in pairs]
    before = _loss(model, rows[:MEASURED])
    chosen = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=LEARNING_RATE)
    order: list[int] = []
    model.train()
    for _ in range(steps):
        while len(order) < BATCH:
            order += torch.randperm(len(rows)).tolist()
        batch, order = order[:BATCH], order[BATCH:]
        optimizer.zero_grad()
        for number in batch:
            (_row_loss(model, rows[number]) / BATCH).backward()
        optimizer.step()
    after = _loss(model, rows[:MEASURED])
    model.save_pretrained(str(into), save_embedding_layers=False)
    (into / "README.md").unlink(missing_ok=True)
    config = msgspec.json.decode((into / CONFIG).read_bytes())
    config |= {"base_model_name_or_path": base.name, "target_modules": list(LAYERS)}  # a path, and a set in any order
    (into / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(config, order="sorted")))
    return TrainedAdapter(loss_before=before, loss_after=after, parameters=sum(each.numel() for each in chosen))


def _tokens(tokenizer: Any, pair: Pair) -> tuple[list[int], int]:
    """Return the tokens of a conversation, and how many of them are not the answer."""
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": pair.prompt}], add_generation_prompt=True, tokenize=False
    )
    prompt = tokenizer(asked, add_special_tokens=False)["input_ids"]
    answer = tokenizer(pair.answer, add_special_tokens=False)["input_ids"]
    return [*prompt, *answer, tokenizer.eos_token_id], len(prompt)


def _row_loss(model: Any, row: tuple[list[int], int]) -> Any:
    ids, prompt = row
    labels = [*[IGNORED] * prompt, *ids[prompt:]]
    return model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss


def _loss(model: Any, rows: Sequence[tuple[list[int], int]]) -> float:
    model.eval()
    with torch.no_grad():
        return sum(float(_row_loss(model, row)) for row in rows) / len(rows)


def main() -> None:
    """Train once, and print losses as JSON. Exit code 2: a folder or row is wrong; 3: a library is missing."""
    parser = argparse.ArgumentParser(prog="python -m trimtab.llm.local_model.adapter_training", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of weights and tokenizer of transformers")
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines with prompt and answer")
    parser.add_argument("--into", type=Path, required=True, help="folder for the adapter")
    for name in ("rank", "steps", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    try:
        pairs = [msgspec.json.decode(line, type=Pair) for line in given.rows.read_bytes().splitlines()]
        found = train(given.base, pairs, rank=given.rank, steps=given.steps, seed=given.seed, into=given.into)
    except ImportError as error:
        parser.exit(
            3, f"{error.name} cannot be imported; train with an environment that has torch, transformers, peft\n"
        )
    except (TrimtabError, OSError, msgspec.DecodeError) as error:
        parser.exit(2, f"{error}\n")
    print(msgspec.json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    main()
