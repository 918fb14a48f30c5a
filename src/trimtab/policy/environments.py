"""The section `environments` of trimtab.yaml: where each environment keeps things, and what may come into it."""

from __future__ import annotations

import re

from pydantic import Field

from trimtab.policy.gateway_section import Console, Serving
from trimtab.policy.section import Section

LOCAL = "local"
"""The environment that every project has."""
ROOT = ".trimtab"
"""Folder of the embedded stores of `local`, in the project folder."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Environment(Section):
    """Where things live. A store that is left out is embedded, in `folder`."""

    folder: str | None = Field(default=None, min_length=1)
    """Folder of the stores that are left out, and of what running processes leave for one another; left out,
    `.trimtab` for `local` and `.trimtab/environments/NAME` for another environment."""
    metadata: str | None = None
    """SQLAlchemy URL (sqlite or postgresql) of the records and the workflows."""
    tables: str | None = None
    """Folder of the versioned tables."""
    online: str | None = None
    """Folder of the feature values for serving."""
    artifacts: str | None = None
    """Folder of the training sets and bundles."""
    predictions: str | None = None
    """Folder of the prediction log, or kafka://host:port/topic."""
    stream: str | None = None
    """Brokers of the streams that name none, such as kafka://host:port,host:port; left out, `up` starts one on this
    machine that keeps messages in memory alone."""
    tracking: str | None = None
    """MLflow tracking URI of runs and the registry."""
    serving: Serving | None = None
    """Keys of `serving` that differ in this environment, such as `port`."""
    console: Console | None = None
    """Keys of `console` that differ in this environment."""


def folder_of(name: str, environment: Environment) -> str:
    """Return the folder of an environment, from the project folder."""
    return environment.folder or (ROOT if name == LOCAL else f"{ROOT}/environments/{name}")
