"""Gateways of small projects, ended after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.gateway_project import GatewayProject, Make


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return what makes a project of some sections of a policy."""
    made: list[GatewayProject] = []

    def project(**sections: Any) -> GatewayProject:
        made.append(GatewayProject(tmp_path / f"project{len(made)}", **sections))
        return made[-1]

    yield project
    for each in made:
        each.stop()
