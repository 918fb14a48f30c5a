"""Consumer and broker of a stream are killed again and again: table and online values are those without kills."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from benchmarks.features.stream_kills import differences, run
from benchmarks.features.stream_project import Events

from kit.broker import PROGRAM
from trimtab import settings

KILLS = 3


def test_a_stream_with_kills_gives_what_one_without_gives(tmp_path: Path) -> None:
    if not os.access(PROGRAM, os.X_OK):
        (pytest.fail if settings.read().ci else pytest.skip)("no broker for this machine is installed")
    events = Events(20_000, cards=200)
    whole = run(tmp_path / "whole", events, kills=0)
    killed = run(tmp_path / "killed", events, kills=KILLS)
    assert differences(whole, killed, events) == []
    assert killed.consumers == KILLS + 1
    assert killed.epoch >= 1
    assert killed.sent > events.count
