"""Makes MLflow's aliases say what serves: python -m trimtab.app.rollout.aliases, its order on standard input, once.

The guard starts it as a process of its own, since MLflow takes seconds and memory that a gateway's supervisor has not.
The verbs that change what serves do the same in theirs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from trimtab.app.project.child_processes import AliasOrder
from trimtab.app.project.mlflow_access import set_aliases
from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.policy.environments import Environment

log = logging.getLogger(__name__)


def follow(find: Callable[[], Workspace], model: str) -> bool:
    """Set the aliases of a model to what serves now; return False when MLflow failed. Serving does not depend on it."""
    try:
        workspace = find()
        revision = open_rollouts(workspace, model).current()
        if revision is not None:
            set_aliases(workspace, revision)
    except Exception as error:  # a border: MLflow's errors are of many kinds
        log.warning("model %s: its aliases in the registry still name what served before: %s", model, error)
        return False
    return True


def _workspace(order: AliasOrder) -> Workspace:
    return Workspace(open_project(Path(order.project)), Environment.model_validate_json(order.environment))


def _obey(order: AliasOrder) -> bool:
    return follow(lambda: _workspace(order), order.model)


if __name__ == "__main__":
    sys.exit(0 if _obey(msgspec.json.decode(sys.stdin.buffer.read(), type=AliasOrder)) else 1)
