"""What files for other systems are made from: the policy and the definitions of one project. No store is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from trimtab.definitions.collection import Definitions
from trimtab.definitions.secrets import names_in
from trimtab.policy.model import Policy


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A project as its files describe it.

    Attributes:
        policy: trimtab.yaml.
        definitions: definitions.py.
        subfolder: path of the project folder in its repository, with slashes; empty at its root.
        version: of Trimtab, which pipelines and images install.
        policy_text: trimtab.yaml as it is written.
        constraints: versions of packages that this release was tested with, as a constraints file.
    """

    policy: Policy
    definitions: Definitions
    subfolder: str
    version: str
    policy_text: str = ""
    constraints: str = ""

    @property
    def slug(self) -> str:
        """Name of the project for systems that take lower-case letters, digits and hyphens alone."""
        return re.sub(r"[^a-z0-9]+", "-", self.policy.project.lower()).strip("-") or "project"

    @property
    def image(self) -> str:
        """Repository of the images, without part and tag."""
        return self.policy.deploy.image or self.slug

    @property
    def secrets(self) -> list[str]:
        """Names of the variables with secrets that policy and definitions refer to, sorted."""
        triggers = (each.secret for each in self.policy.triggers.values() if each.secret is not None)
        sources = list(self.definitions.sources.values())
        return sorted({*names_in(yaml.safe_load(self.policy_text)), *triggers, *names_in(sources)})

    def from_root(self, path: str) -> str:
        """Return a path of the project as the repository has it."""
        return f"{self.subfolder}/{path}" if self.subfolder else path
