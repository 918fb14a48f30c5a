"""What the controller may do. Each action is safe to ask for twice: it goes by the decision's id."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Protocol

from trimtab.app.llm.searches import no_search
from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.project.mlflow_access import set_aliases
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.control.reviews import ESCALATE
from trimtab.errors import Conflict
from trimtab.records.control import Decision, WorkflowStep


class Retrainings(Protocol):
    """What starts retraining workflows: the process that runs them, or one that queues them for it."""

    def start(self, decision: Decision, *, as_of: datetime, approved: bool) -> str:
        """Start the workflow of a decision, once; return its id."""
        ...

    def active(self, model: str) -> list[str]:
        """Return the ids of a model's workflows that have not ended."""
        ...


class LoopActions:
    """The real actions, handed to the controller."""

    def __init__(self, workspace: Workspace, retraining: Retrainings, searches: Retrainings | None = None) -> None:
        """searches: those for better prompts; None: none can be started."""
        self._workspace = workspace
        self._retraining = retraining
        self._searches = searches

    def no_search(self, model: str) -> str:
        """Return why no search for a better prompt may be started; empty when one may, and for a model."""
        if self._searches is None and model in self._workspace.project.definitions.prompts:
            return f"no search for a better version of prompt '{model}' can be started here"
        return no_search(self._workspace, model)

    def retrain(self, decision: Decision) -> None:
        """Start the retraining workflow; of a prompt the search for a better one."""
        self._starter(decision.model).start(decision, as_of=decision.end, approved=True)

    def review(self, decision: Decision) -> None:
        """Start the workflow; it waits for a person first."""
        self._starter(decision.model).start(decision, as_of=decision.end, approved=False)

    def rollback(self, decision: Decision) -> None:
        """Restore what served before the version that was judged, or the shadow that leads it.

        Raises ActionError when another serves by now.
        """
        rollouts = open_rollouts(self._workspace, decision.model)
        reason, judged = "; ".join(decision.reasons), decision.version
        if decision.to_version is None:
            revision = rollouts.rollback(cause=decision.id, reason=reason, by="trimtab", judged=judged)
        else:
            revision = rollouts.way_back(
                decision.to_version, cause=decision.id, reason=reason, by="trimtab", judged=judged
            )
        set_aliases(self._workspace, revision)

    def escalate(self, decision: Decision, reason: str) -> None:
        """Write a step of the review's workflow, once."""
        workflow = workflow_id(decision.id)
        step = WorkflowStep(
            id=f"{workflow}/{ESCALATE}",
            created_at=self._workspace.now(),
            workflow=workflow,
            model=decision.model,
            decision=decision.id,
            step=ESCALATE,
            outcome=reason,
            refers_to=None,
        )
        with suppress(Conflict):  # it was escalated by an earlier policy, with another time
            self._workspace.metadata.put(step)

    def running(self, model: str) -> int:
        """Return how many retrainings of the model have not ended."""
        return len(self._starter(model).active(model))

    def _starter(self, model: str) -> Retrainings:
        of_prompt = model in self._workspace.project.definitions.prompts
        return self._searches if of_prompt and self._searches is not None else self._retraining
