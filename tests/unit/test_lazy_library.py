"""A lazy library loads at the first use of one of its names, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trimtab.lazy_library import LazyLibrary


def test_it_loads_at_the_first_use_of_a_name() -> None:
    program = """
import sys
from trimtab.lazy_library import LazyLibrary
pc = LazyLibrary("pyarrow.compute")
print("pyarrow" in sys.modules)
print(pc.sum([1, 2]), "pyarrow" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout.split(), found.stderr) == (["False", "3", "True"], "")


def test_a_name_or_a_library_that_does_not_exist_is_the_usual_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = LazyLibrary("json").absent
    with pytest.raises(ImportError, match="absent"):
        _ = LazyLibrary("absent").name
