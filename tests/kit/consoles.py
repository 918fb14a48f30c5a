"""A project without data, its console, and a client that asks as a browser at this machine would."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.console.application import create_app

ADDRESS = "http://127.0.0.1:8090"
DEFINITIONS = """
import trimtab as tt

rows = tt.FileSource("rows", "rows.parquet", timestamp="at")
risk = tt.Model("risk", task="binary", examples=rows, label="bad", features=["amount"])
"""
POLICY = "project: small\ndecide: { window: 1d }\n"
SIGN_IN = "console: { authentication: tokens }\n"


def browser(workspace: Workspace, app: FastAPI | None = None) -> TestClient:
    """Return a client of the console of a project."""
    return TestClient(app or create_app(workspace), base_url=ADDRESS, raise_server_exceptions=False)


def make_project(folder: Path, policy: str = POLICY) -> Workspace:
    """Write a project and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trimtab.yaml").write_text(policy)
    (folder / "definitions.py").write_text(DEFINITIONS)
    return open_workspace(folder)
