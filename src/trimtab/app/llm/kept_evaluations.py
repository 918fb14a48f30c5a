"""Evaluations of prompts in the artifact store: all answers and scores of a run."""

from __future__ import annotations

from trimtab.app.project.workspace import Workspace
from trimtab.llm.evaluate.results import Evaluation, read_evaluation
from trimtab.records.training import Run

KEPT = "evaluations/{prompt}/{run}"
"""Name of an evaluation in the artifact store."""


def keep_evaluation(workspace: Workspace, prompt: str, run: str, evaluation: Evaluation) -> None:
    """Keep the evaluation of a run."""
    folder = workspace.artifacts.staging()
    evaluation.write(folder)
    workspace.artifacts.publish(folder, KEPT.format(prompt=prompt, run=run))


def evaluation_of(workspace: Workspace, run: Run) -> Evaluation:
    """Return the evaluation of a run. Raises DataError, NotFound."""
    return read_evaluation(workspace.artifacts.open(KEPT.format(prompt=run.model, run=run.id)))
