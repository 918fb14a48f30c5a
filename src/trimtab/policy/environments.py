"""The section `environments` of trimtab.yaml: where each environment keeps things, and what may come into it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from trimtab.policy.gateway_section import Console, Serving
from trimtab.policy.section import Section
from trimtab.policy.values import Duration

LOCAL = "local"
"""The environment that every project has."""
ROOT = ".trimtab"
"""Folder of the embedded stores of `local`, in the project folder."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Environment(Section):
    """Where things live. A store that is left out is embedded, in `folder`."""

    model_config = ConfigDict(serialize_by_alias=True)  # so that it can be read again from what it writes

    folder: str | None = Field(default=None, min_length=1)
    """Folder of the stores that are left out, and of what running processes leave for one another; left out,
    `.trimtab` for `local` and `.trimtab/environments/NAME` for another environment."""
    metadata: str | None = None
    """SQLAlchemy URL (sqlite or postgresql) of the records and the workflows. A password stands in it by its name,
    `${NAME}`: an environment variable, or NAME_FILE. It is escaped in the URL."""
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
    """MLflow tracking URI of runs and the registry; `${NAME}` in it as in `metadata`."""
    serving: Serving | None = None
    """Keys of `serving` that differ in this environment, such as `port`."""
    console: Console | None = None
    """Keys of `console` that differ in this environment."""
    gateway: str | None = Field(default=None, pattern=r"^https?://")
    """Address of the gateway as others reach it, such as https://scores.example.com, for smoke tests; left out, that of
    the gateway that runs on this machine."""
    from_: str | None = Field(default=None, alias="from")
    """Environment whose bundles may be promoted into this one; left out, any."""
    soak: Duration | None = None
    """Time that a bundle must have served as champion where it comes from; left out, none."""
    smoke: bool = False
    """Whether the gateway of the environment that a bundle comes from must pass the smoke test with it first."""
    approvals: int = Field(default=0, ge=0, le=20)
    """How many people, other than the one who asks, must approve before a bundle serves here. More than 0: only bundles
    that were promoted serve here; a way back takes no approval."""
    approvers: list[str] = []
    """Names of those who may approve; left out, all who have the role."""
    role: Literal["developer", "approver", "admin"] = "approver"
    """Role that approving takes."""

    @model_validator(mode="after")
    def _can_be_approved(self) -> Environment:
        named = len(set(self.approvers))
        if 0 < named < self.approvals:
            raise ValueError(f"approvals: {self.approvals} takes as many approvers; {named} are named")
        return self

    @property
    def is_guarded(self) -> bool:
        """Whether the environment takes promoted bundles: from one environment, or approved by people."""
        return self.from_ is not None or self.approvals > 0


def env_option(name: str) -> str:
    """Return what a command that is shown needs after it to open an environment: nothing for `local`."""
    return "" if name == LOCAL else f" --env {name}"


def folder_of(name: str, environment: Environment) -> str:
    """Return the folder of an environment, from the project folder."""
    return environment.folder or (ROOT if name == LOCAL else f"{ROOT}/environments/{name}")


def shares_records(name: str, environments: Mapping[str, Environment]) -> str | None:
    """Return an environment that has the same records as a guarded one, which its rules would not hold back."""
    places = {
        each: rules.metadata or posixpath.normpath(folder_of(each, rules)) for each, rules in environments.items()
    }
    if not environments[name].is_guarded:
        return None
    return next((other for other, place in places.items() if other != name and place == places[name]), None)
