"""Makes MLflow's aliases say what serves: python -m trimtab.app.aliases, its order on standard input, once.

Started by guarding. A process of its own, since MLflow takes seconds and memory that a gateway's supervisor has not.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import msgspec

from trimtab.app.program import AliasOrder
from trimtab.app.project import open_project
from trimtab.app.rollout import open_rollouts
from trimtab.app.tracking import set_aliases
from trimtab.app.workspace import Workspace
from trimtab.policy import Environment

log = logging.getLogger(__name__)


def follow(order: AliasOrder) -> bool:
    """Set the aliases of a model to what serves now; tell whether that was possible."""
    try:
        environment = Environment.model_validate_json(order.environment)
        workspace = Workspace(open_project(Path(order.project)), environment)
        revision = open_rollouts(workspace, order.model).current()
        if revision is not None:
            set_aliases(workspace, revision)
    except Exception as error:  # the border of the process: MLflow's errors are of many kinds
        log.warning("model %s: its aliases in the registry still name what served before: %s", order.model, error)
        return False
    return True


if __name__ == "__main__":
    sys.exit(0 if follow(msgspec.json.decode(sys.stdin.buffer.read(), type=AliasOrder)) else 1)
