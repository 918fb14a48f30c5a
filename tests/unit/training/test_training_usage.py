"""Resources are measured, children included, and turned into money."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from trimtab.policy.model import Prices
from trimtab.training.usage import Meter, Usage

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_cpu_of_this_process_and_of_a_child_count() -> None:
    # when this process burns 0.2 s and a child 0.3 s
    with Meter() as meter:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        subprocess.run([sys.executable, "-c", BURN], check=True)

    # then at least both are counted
    assert meter.usage.cpu_seconds >= 0.5
    assert meter.usage.wall_seconds > 0


def test_a_large_array_shows_in_the_peak() -> None:
    with Meter() as idle:
        pass
    with Meter() as meter:
        block = bytearray(b"x" * 200_000_000)
        meter._sample()
        del block
    assert meter.usage.peak_memory_mb >= idle.usage.peak_memory_mb + 150


def test_cost_is_cpu_hours_and_memory_held() -> None:
    # given an hour of one CPU, and 2 GB held for half an hour
    usage = Usage(cpu_seconds=3600, wall_seconds=1800, peak_memory_mb=2000)
    assert usage.cost(Prices(cpu_hour=0.04, memory_gb_hour=0.005)) == pytest.approx(0.04 + 0.005)


def test_usage_is_not_there_before_the_end() -> None:
    with Meter() as meter, pytest.raises(RuntimeError, match="has not ended"):
        _ = meter.usage
