"""The loopback provider for tests: the stand-in for a language model, and calls of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trimtab.bundle.prompt_spec import EndpointSpec, TargetSpec
from trimtab.llm.loopback.starting import OpenLoopback, running

QUEUES = """Sort the ticket into one queue. Answer with its name only.
- billing: charge, card, invoice, refund
- shipping: parcel, delivery, late, courier
- account: password, login, email"""


@pytest.fixture
def loopback() -> Iterator[OpenLoopback]:
    """Run a provider with seed 0 and an empty bill. Import it in a test file or a conftest."""
    with running() as found:
        yield found


def endpoint(url: str, **more: Any) -> EndpointSpec:
    """Return an endpoint of the name `main`."""
    return EndpointSpec(name="main", url=url, **more)


def target(url: str, model: str = "echo", **more: Any) -> TargetSpec:
    """Return a model at the endpoint `main`; faults follow its name, as in `echo+slow`."""
    return TargetSpec(endpoint=endpoint(url, **more), model=model)


def asked(text: str, system: str | None = None) -> dict[str, Any]:
    """Return the body of a request with one user message."""
    before = [] if system is None else [{"role": "system", "content": system}]
    return {"messages": [*before, {"role": "user", "content": text}]}
