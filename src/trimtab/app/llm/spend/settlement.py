"""Settles turns whose end is not known with what their provider billed."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import closing
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from trimtab.app.llm.spending import spend_store
from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros
from trimtab.errors import DataError, nearest
from trimtab.llm.money.spend_scopes import PICO
from trimtab.stores.spend.contract import SpendStore

IDS = ("id", "prediction_id", "generation_id", "request_id")
COSTS = ("cost", "total_cost", "cost_total", "spend", "amount")
INPUTS, OUTPUTS = ("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a file has settled."""

    settled: int
    unknown: int
    """Rows of turns that are not assumed: nothing has changed for them."""
    before: float
    """What the settled turns had counted."""
    after: float


def settle_file(workspace: Workspace, path: Path) -> Settled:
    """Settle assumed turns with what a provider billed.

    Args:
        workspace: the project.
        path: CSV or JSON lines with an id and a cost in the currency of `impact`, and maybe tokens. A cost of 0 says
            that the call never reached the provider.

    Raises:
        DataError: a column is missing or a value is wrong; then nothing is settled.
    """
    rows = list(_rows(path))
    with closing(spend_store(workspace)) as store:
        assumed = {turn.id: turn for turn in store.assumed()}
        known = [row for row in rows if row[0] in assumed]
        for id_, cost, read, written in known:
            store.settle(id_, cost, input=read, output=written)
    bounds = sum(max(amount for _, amount in assumed[row[0]].amounts) for row in known)
    return Settled(
        settled=len(known),
        unknown=len(rows) - len(known),
        before=bounds / PICO,
        after=sum(row[1] for row in known) / PICO,
    )


def _rows(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """Yield id, cost in 1e-12, input and output tokens of each row; one id once."""
    seen: dict[str, int] = {}
    for number, row in _lines(path):
        where = f"{path}:{number}"
        id_ = str(_value(row, IDS, where))
        if id_ in seen:
            raise DataError(f"{where}: '{id_}' stands in line {seen[id_]}, too; expected each turn once")
        seen[id_] = number
        text = str(_value(row, COSTS, where))
        try:
            cost = Decimal(text)
            if not cost.is_finite() or cost < 0:
                raise InvalidOperation
        except InvalidOperation:
            raise DataError(f"{where}: cost is {text!r}; expected an amount of money from 0 on") from None
        yield id_, round(cost * PICO), _tokens(row, INPUTS, where), _tokens(row, OUTPUTS, where)


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix in (".jsonl", ".ndjson"):
                decode = msgspec.json.Decoder(dict[str, Any]).decode
                for number, line in enumerate(file, 1):
                    if line.strip():
                        try:
                            yield number, decode(line)
                        except msgspec.DecodeError as error:
                            raise DataError(f"{path}:{number}: no JSON object: {error}") from None
            else:
                reader = csv.DictReader(file)
                for row in reader:
                    yield reader.line_num, row
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected CSV or JSON lines with id and cost") from None
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _value(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> Any:
    found = next((row[name] for name in names if row.get(name) not in (None, "")), None)
    if found is None:
        there = [str(name) for name in row if name]
        raise DataError(
            f"{where}: no value of {names[0]}; expected a column {' or '.join(names)}.{nearest(names[0], there)}"
        )
    return found


def _tokens(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> int:
    value = next((row[name] for name in names if row.get(name) not in (None, "")), 0)
    try:
        found = int(str(value))
        if found < 0:
            raise ValueError
    except ValueError:
        raise DataError(f"{where}: {names[0]} is {value!r}; expected a whole number from 0 on") from None
    return found


def assumed_turns(store: SpendStore) -> list[dict[str, Any]]:
    """Return the turns that count at their bound, as rows that `settle_file` takes once their cost is corrected."""
    return [
        {
            "id": turn.id,
            "cost": float(max(amount for _, amount in turn.amounts)) / PICO,
            "at": from_micros(turn.at).isoformat(),
            "purpose": turn.purpose,
            "scopes": sorted(key.scope for key, _ in turn.amounts),
        }
        for turn in store.assumed()
    ]
