"""A project of a prompt that was evaluated and has served for some hours: logged turns and judged windows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from kit.prompt_turns import BEGIN, Traffic, write_hours
from kit.triage_project import write_triage
from trimtab.app.llm import prompt_stages
from trimtab.app.loop.steering import decide_once
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import ManualClock, from_micros
from trimtab.records.training import Bundle

POLICY = """
impact: { cost: { bad_turn: 2 } }
decide: { window: 1h, lateness: 10m, labels_mature_after: 1h }
"""


def make_version(
    folder: Path, *, policy: str = POLICY, items: int = 50, evaluators: str = "tt.exact()"
) -> tuple[Workspace, Bundle]:
    """Evaluate, register and deploy the prompt of the triage project."""
    write_triage(folder, items=items, evaluators=evaluators)
    (folder / "trimtab.yaml").write_text(f"project: tickets\n{policy}", encoding="utf-8")
    workspace = open_workspace(folder, clock=ManualClock(from_micros(BEGIN)))
    bundle = prompt_stages.register(workspace, prompt_stages.evaluate(prompt_stages.prepared(workspace, "triage")))
    prompt_stages.deploy(workspace, bundle, cause=bundle.id, reason="a test", by="tests")
    return workspace, bundle


def serve(workspace: Workspace, *stretches: tuple[Traffic, Sequence[int]]) -> None:
    """Log turns by the hour, and let the loop decide after them."""
    for traffic, hours in stretches:
        write_hours(workspace.predictions, traffic, hours)
    workspace.predictions.sync()
    clock = workspace.clock
    assert isinstance(clock, ManualClock)
    clock.move_to(from_micros(BEGIN) + timedelta(hours=max(hours[-1] for _, hours in stretches) + 2))
    decide_once(workspace)
