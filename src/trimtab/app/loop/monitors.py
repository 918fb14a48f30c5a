"""Opens the monitor of a project: hands it the log, the policy and the bundles' references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

from msgspec import structs

from trimtab.app.llm.judge_standing import no_harm
from trimtab.app.llm.watching.kept_references import kept_reference
from trimtab.app.llm.watching.turn_references import rebuild_reference
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.pipeline import REFERENCE
from trimtab.bundle.spec import Limits, Spec, read_spec
from trimtab.clock import from_micros
from trimtab.control.window_facts import WindowFacts
from trimtab.control.window_history import column_facts
from trimtab.errors import NotFound
from trimtab.llm.topics import TurnTopics
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle

CHECKPOINT = "monitor.json"
"""Tells the next monitor from where in the prediction log to read."""


def open_monitor(workspace: Workspace) -> Monitor:
    """Return the monitor of all models of a project."""
    return Monitor(
        workspace.metadata,
        workspace.predictions,
        workspace.project.policy,
        references(workspace),
        workspace.clock,
        checkpoint=workspace.run_folder / CHECKPOINT,
        impact_functions=workspace.project.definitions.impact_functions,
        prompts=workspace.project.definitions.prompts,
        rebuild=partial(rebuild_reference, workspace),
        no_harm=partial(no_harm, workspace),
    )


def references(workspace: Workspace) -> Callable[[str, int], Reference | None]:
    """Return a function that gives the reference in the bundle of a model's version, or None without one."""

    off = workspace.project.policy.serving.checks == "off"

    @cache
    def find(model: str, version: int) -> Reference | None:
        try:
            bundle = workspace.metadata.get(Bundle, f"{model}/{version}")
            path = workspace.artifacts.open(bundle.path) / REFERENCE
        except NotFound:
            return None
        if bundle.kind == "prompt" and (kept := kept_reference(workspace, model, version)) is not None:
            return kept
        if not path.is_file():
            return None
        spec = read_spec(path.parent.parent)
        limits, names = None if off else _limits(spec), spec.feature_categories
        found = Reference.from_json(path.read_bytes())
        # a fit on all rows has the reference of the fit that the gates judged, and a threshold of its own
        expectation = structs.replace(found.expectation, threshold=bundle.threshold)
        topics = TurnTopics.read(path.parent.parent) if bundle.kind == "prompt" else None
        return replace(
            found,
            threshold=bundle.threshold,
            expectation=expectation,
            limits=limits,
            category_names=names,
            topics=topics,
        )

    return find


def windows_before_service(workspace: Workspace, model: str) -> tuple[WindowFacts, ...]:
    """Return the reference windows of the first champion, oldest first; none without a revision or a reference."""
    first = workspace.metadata.find(Revision, model=model, oldest_first=True, limit=1)
    version = next((a.version for r in first for a in r.assignments if a.role == "champion"), None)
    reference = None if version is None else references(workspace)(model, version)
    return () if reference is None else reference_facts(reference)


def reference_facts(reference: Reference) -> tuple[WindowFacts, ...]:
    """Return what the quarantine knows of reference windows, oldest first."""
    found = []
    for place, start in enumerate(reference.starts):
        means, missing = column_facts(reference.profiles[place])
        labelled = reference.labelled[place]
        loss = (
            None
            if labelled is None
            else labelled.log_loss
            if labelled.squared_error is None
            else labelled.squared_error
        )
        found.append(
            WindowFacts(
                start=from_micros(start),
                end=from_micros(start + reference.window),
                rows=reference.rows[place],
                means=means,
                missing=missing,
                loss=loss,
                labelled=0 if labelled is None else labelled.rows,
            )
        )
    return tuple(found)


def _limits(spec: Spec) -> Limits | None:
    """Return the checks of the request columns that are features as they are; of others the log has no values."""
    own = {name: check for name, check in spec.checks.items() if name in spec.features and not check.is_text}
    found = Limits(
        no_null=tuple(name for name, check in own.items() if not check.null),
        lowest={name: check.lowest for name, check in own.items() if check.lowest is not None},
        highest={name: check.highest for name, check in own.items() if check.highest is not None},
    )
    return found if found else None
