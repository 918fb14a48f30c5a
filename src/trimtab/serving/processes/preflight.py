"""The process of a preflight: loads one bundle before workers do, so that a crash or a hang harms no request.

It loads the bundle as a worker does, scores made-up rows and runs the project's code with them. An exception for such a
row is no failure, since a request with these values would be refused; a crash, a hang and a failed load are.
"""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from trimtab.bundle.spec import Spec
from trimtab.errors import TrimtabError
from trimtab.runtimes import priority
from trimtab.serving.core.bundle_loading import Load
from trimtab.serving.core.fallback import Ruled
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.orders import Down, Preflight, PreflightResult, Up
from trimtab.serving.processes.channel import Channel
from trimtab.serving.processes.memory_limit import limit_memory

LATE_S = 5
"""How long after its time limit the process ends itself by SIGALRM: its supervisor may be gone."""
SOME: dict[str, Any] = {"number": 1.0, "integer": 1, "boolean": True, "text": "a", "time": 0, "decimal": "1", "date": 0}
"""A value of each type that a request may bring."""


def run_preflight(
    preflight: Preflight,
    loading: Callable[[], Load],
    channel: Channel[Down, Up],
) -> None:
    """Load and exercise a bundle, then send a PreflightResult, unless the bundle ends this process.

    loading: opens the stores that the project's code reads, and returns what loads bundles; a failure of it is a
    failure of the preflight.
    """
    signal.alarm(math.ceil(preflight.limit_s) + LATE_S)
    faulthandler.enable(all_threads=False)  # logs the line of the project's code in which the process died
    threading.Thread(target=_end_with_supervisor, args=(channel,), name="orders", daemon=True).start()
    priority.low(os.getpid())
    limit_memory()
    try:
        bundle = loading()(preflight.bundle, False)
        _exercise(bundle)
        bundle.scorer.close()
    except TrimtabError as error:
        channel.send(PreflightResult(str(error)))
    else:
        channel.send(PreflightResult(""))


def _exercise(bundle: LoadedBundle) -> None:
    """Run the code that requests would run."""
    rule = bundle.vectorizer.rule if isinstance(bundle.vectorizer, Ruled) else None
    for columns in _columns(bundle.spec):
        with suppress(Exception):  # made-up values may be refused
            bundle.scorer.score(bundle.vectorizer.vectors(columns, [0]))
        if rule is not None:
            with suppress(Exception):
                rule.scores(columns, [0])


def _columns(spec: Spec) -> list[dict[str, list[Any]]]:
    """Return two requests of one row: one with a value in each column, one without any value."""
    kinds = {name: spec.request_types.get(name, "number") for name in spec.request_columns}
    return [{name: [SOME.get(kind)] for name, kind in kinds.items()}, {name: [None] for name in kinds}]


def _end_with_supervisor(channel: Channel[Down, Up]) -> None:
    while channel.receive() is not None:
        pass
    os._exit(0)
