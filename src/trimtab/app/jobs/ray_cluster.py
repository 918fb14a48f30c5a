"""Trains as a task of Ray: on this machine, or on the cluster whose address the policy names."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab import settings, units
from trimtab.app.jobs.job_order import Order, Result, perform
from trimtab.app.jobs.passing_failures import MayPass
from trimtab.errors import MissingExtra, StageError
from trimtab.lazy_library import LazyLibrary
from trimtab.policy.model import Training
from trimtab.serving.processes.memory_limit import limit_memory

if TYPE_CHECKING:
    import ray
else:
    ray = LazyLibrary("ray")  # it takes seconds to import, and few projects use it

STORE_BYTES = 80 * 2**20
"""Memory of a local Ray for objects that tasks pass on; an order and a result are small."""


def on_ray(training: Training) -> Callable[[Order, int | None], Result]:
    """Return the place that runs an order as a task of Ray. Raises MissingExtra without Ray."""
    if find_spec("ray") is None:
        raise MissingExtra("ray", "ray")

    def run(order: Order, timeout: int | None) -> Result:
        started = not ray.is_initialized()
        if started:
            _connect(training.address)
        try:
            return _ran(order, timeout)
        finally:
            if started:
                ray.shutdown()

    return run


def _connect(address: str | None) -> None:
    settings.offer(RAY_USAGE_STATS_ENABLED="0")
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address is None:
        own: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        ray.init(address="local", **own, **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise StageError(f"training.address: no Ray at {address}: {error}") from error


def _ran(order: Order, timeout: int | None) -> Result:
    task = ray.remote(num_cpus=1, max_retries=0, max_calls=1)(_perform).remote(msgspec.json.encode(order))
    try:
        return msgspec.json.decode(ray.get(task, timeout=timeout and timeout / units.MICROS["s"]), type=Result)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(task, force=True)
        raise StageError(
            f"the training of model '{order.model}' did not end within {units.short(timeout or 0)} (retrain.timeout)"
        ) from None
    except ray.exceptions.OutOfMemoryError as error:
        raise MayPass(f"Ray ended the training of model '{order.model}' for memory: {error}") from error
    except ray.exceptions.RayError as error:
        text = str(error).strip().splitlines()[0]
        raise StageError(f"the training of model '{order.model}' ended in Ray: {text}") from error


def _perform(order: bytes) -> bytes:
    """Run an order in a worker of Ray."""
    received = msgspec.json.decode(order, type=Order)
    if received.memory is not None:
        limit_memory(received.memory)
    return msgspec.json.encode(perform(received))
