"""A preflight may use the memory that the machine has free, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trimtab.serving.processes.memory_limit import free_bytes

PROGRAM = """
import mmap
from pathlib import Path
from trimtab.serving.processes.memory_limit import limit_memory, free_bytes

def take(size):
    unreserved = 0x4000  # so that it is not the system that counts
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | unreserved).close()
        return "yes"
    except OSError:
        return "no"

free = free_bytes()
before = take(2 * free)
limit_memory()
print(before, take(2 * free), take(2**20), Path("/proc/self/oom_score_adj").read_text())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is Linux'")
def test_no_more_can_be_had_than_was_free() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, *bounded = done.stdout.split()
    if before == "no":
        pytest.skip("this system overcommits no memory")
    assert bounded == ["no", "yes", "1000"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_there_is_less_free_than_there_is() -> None:
    found = free_bytes()
    assert found is not None
    assert found > 0
