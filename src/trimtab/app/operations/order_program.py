"""The process of `own_process.py`: python -m trimtab.app.operations.order_program, its order on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trimtab import errors
from trimtab.app.operations.deploying import restore
from trimtab.app.operations.own_process import Order, OrderDone
from trimtab.app.operations.refused_rows import handle_rows
from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import Workspace
from trimtab.errors import TrimtabError
from trimtab.policy.environments import Environment

ORDERS: Mapping[str, Callable[..., Any]] = {"handle_rows": handle_rows, "restore": restore}


def carry_out(order: Order, orders: Mapping[str, Callable[..., Any]] = ORDERS) -> OrderDone:
    """Do what an order says, by the function of its name. Errors become part of the result."""
    workspace = Workspace(open_project(Path(order.project)), Environment.model_validate_json(order.environment))
    try:
        value = orders[order.name](workspace, order.actor, **order.arguments)
        return OrderDone(value=msgspec.Raw(msgspec.json.encode(value)))
    except TrimtabError as error:
        kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        return OrderDone(error=kind, text=str(error))


def main(orders: Mapping[str, Callable[..., Any]] = ORDERS) -> None:
    """Carry out one order. What definitions.py prints goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with output:
        output.write(msgspec.json.encode(carry_out(msgspec.json.decode(sys.stdin.buffer.read(), type=Order), orders)))


if __name__ == "__main__":
    main()
