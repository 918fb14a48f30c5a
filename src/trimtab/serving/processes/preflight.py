"""The process that tries one bundle before workers load it: it may die or hang, and nobody notices. Run by worker.

It loads the bundle as a worker does, scores it, and runs the project's code with made-up rows. What that raises for
such rows is the requests' own matter; what counts is whether the process lives through it, and in time.
"""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from trimtab.bundle.spec import Spec
from trimtab.errors import TrimtabError
from trimtab.runtimes import priority
from trimtab.serving.core.fallback import Ruled
from trimtab.serving.core.loaded_bundle import LoadedBundle, VectorizerFactory, load_bundle
from trimtab.serving.orders import Down, Trial, Tried, Up
from trimtab.serving.processes.channel import Channel
from trimtab.serving.processes.memory_limit import bound_memory

LATE_S = 5
"""So long after its time the system ends a trial whose supervisor has not: it may be gone."""
SOME: dict[str, Any] = {"number": 1.0, "integer": 1, "boolean": True, "text": "a", "time": 0}
"""A value of each kind that a request may bring."""


def run_trial(
    trial: Trial, vectorizer_factory: Callable[[], VectorizerFactory], channel: Channel[Down, Up], trust: Sequence[str]
) -> None:
    """Try a bundle and tell how it went, unless that ends the process.

    vectorizer_factory: opens what the project's code reads; part of the trial.
    """
    signal.alarm(math.ceil(trial.limit_s) + LATE_S)
    faulthandler.enable(all_threads=False)  # the log then tells the line of the project's code in which it died
    threading.Thread(target=_end_with_supervisor, args=(channel,), name="orders", daemon=True).start()
    priority.low(os.getpid())
    bound_memory()
    try:
        bundle = load_bundle(trial.bundle, vectorizer_factory(), trust=trust)
        _exercise(bundle)
        bundle.scorer.close()
    except TrimtabError as error:
        channel.send(Tried(str(error)))
    else:
        channel.send(Tried(""))


def _exercise(bundle: LoadedBundle) -> None:
    """Run the code that requests run."""
    rule = bundle.vectorizer.rule if isinstance(bundle.vectorizer, Ruled) else None
    for columns in _columns(bundle.spec):
        with suppress(Exception):  # made-up values may be refused
            bundle.scorer.score(bundle.vectorizer.vectors(columns, [0]))
        if rule is not None:
            with suppress(Exception):
                rule.scores(columns, [0])


def _columns(spec: Spec) -> list[dict[str, list[Any]]]:
    """Return two requests of one row: one of some values, one of none."""
    kinds = {name: spec.request_types.get(name, "number") for name in spec.request_columns}
    return [{name: [SOME.get(kind)] for name, kind in kinds.items()}, {name: [None] for name in kinds}]


def _end_with_supervisor(channel: Channel[Down, Up]) -> None:
    while channel.receive() is not None:
        pass
    os._exit(0)
