"""The example in the contract of the prediction log does what it shows."""

import doctest

from trimtab.stores.predictions import contract


def test_the_example_runs() -> None:
    found = doctest.testmod(contract)
    assert found.attempted > 0
    assert found.failed == 0
