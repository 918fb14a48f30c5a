"""What the live turns of a version of a prompt are compared with (monitoring/prompts/turn_reference.py).

The bundle of a new version has turns that the champion has served, else the answers of its evaluation. Where it has
these alone, its own first windows take their place later, as an artifact beside the bundle.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trimtab.app.llm.watching.evaluation_turns import evaluation_turns
from trimtab.app.llm.watching.kept_references import CATEGORIES, kept_reference, name_of
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.llm.evaluate.results import Evaluation
from trimtab.metric_catalog import CHAT
from trimtab.monitoring.prompts.served_turns import served_turns
from trimtab.monitoring.prompts.turn_reference import (
    ReferenceTurn,
    TurnReference,
    build_turn_reference,
)
from trimtab.monitoring.reference import Reference
from trimtab.records.monitoring import WindowReport
from trimtab.records.training import Bundle
from trimtab.stats.sequential import ENOUGH_WINDOWS

MOST_WINDOWS = 60
"""Newest windows of the champion that make a reference."""


def turn_reference(workspace: Workspace, evaluation: Evaluation) -> TurnReference:
    """Return the reference of a version: of the champion's windows when ENOUGH_WINDOWS of them are judged, else of the
    answers of its evaluation; without files where there are none."""
    policy = workspace.project.policy
    turns = champion_turns(workspace, evaluation.facts.prompt) or evaluation_turns(workspace, evaluation)
    if not turns:
        return TurnReference({}, {})
    return build_turn_reference(
        turns,
        window=policy.decide.window,
        costs=policy.impact.cost_for(CHAT),
        embed=policy.llm.topics.embed,
        seed=evaluation.facts.seed,
    )


def champion_turns(workspace: Workspace, prompt: str) -> list[ReferenceTurn]:
    """Return the turns of the newest windows of the champion; none with fewer than ENOUGH_WINDOWS.

    Only windows whose labels matured count.
    """
    revision = open_rollouts(workspace, prompt).current()
    champion = None if revision is None else revision.bundle_in("champion")
    if champion is None:
        return []
    version = workspace.metadata.get(Bundle, champion).version
    windows = workspace.metadata.find(
        WindowReport, model=prompt, version=version, role="champion", stage="matured", limit=MOST_WINDOWS
    )
    if len(windows) < ENOUGH_WINDOWS:
        return []
    return served_turns(workspace.predictions, windows, metric=workspace.project.policy.llm.promote.metric)


def rebuild_reference(workspace: Workspace, windows: Sequence[WindowReport]) -> Reference:
    """Make the reference of a version of its own first windows, keep it, and return it. One that is kept stays."""
    policy, first = workspace.project.policy, windows[0]
    made = build_turn_reference(
        served_turns(workspace.predictions, windows, metric=policy.llm.promote.metric),
        window=policy.decide.window,
        costs=policy.impact.cost_for(CHAT),
        embed=policy.llm.topics.embed,
        own=True,
    )
    folder = workspace.artifacts.staging()
    for path, content in made.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / CATEGORIES).write_bytes(msgspec.json.encode(made.categories))
    workspace.artifacts.publish(folder, name_of(workspace, first.model, first.version))
    found = kept_reference(workspace, first.model, first.version)
    assert found is not None
    return found
