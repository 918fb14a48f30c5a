"""Set-up of all tests."""

from __future__ import annotations

import compileall
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import engine

import trimtab
from kit.migrations import MigrateOnce
from trimtab.settings import offer, read
from trimtab.stores.metadata import migrations

offer(OMP_NUM_THREADS="1")  # as `trimtab` does: two processes that test leave no core for threads that spin
pytest.register_assert_rewrite("trimtab.testing")

# No deadlines: how long an example takes is no test's matter. `--hypothesis-profile thorough` looks longer.
settings.register_profile("local", deadline=None, max_examples=50)
settings.register_profile("ci", settings.get_profile("local"), database=None, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("ci" if read().ci else "local")
if read().ci:
    engine.MAX_SHRINKING_SECONDS = 30  # of five minutes: a failing test may not hold up all others


@pytest.fixture(scope="session", autouse=True)
def migrate_once() -> Iterator[MigrateOnce]:
    """Run the migrations of the metadata store once a process; a test that is about them takes `upgrade`."""
    once = MigrateOnce(migrations._upgrade)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "_upgrade", once)
        yield once


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once where Python keeps no bytecode, or each of hundreds of processes would compile it."""
    if sys.dont_write_bytecode and not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(trimtab.__file__).parent, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the bytecode of test files everywhere. What tests import later, such as edited projects, is not kept."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before


@pytest.hookimpl(trylast=True)  # after the shuffling
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones, so that no process works on its last one when all others are done."""
    longest = ("e2e", "integration")
    items.sort(key=lambda item: next((n for n, name in enumerate(longest) if name in item.path.parts), len(longest)))
