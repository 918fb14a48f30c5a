"""Compares the module for Google Cloud with the schema of its provider: python -m clients.with_google PYTHON.

Terraform itself needs the provider for this, which only its registry has. PYTHON has what google_calls.py needs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from clients.orchestrated import trimtab
from trimtab.app.project import templates

CALLS = Path(__file__).parent / "google_calls.py"
CLOUD = "\ndeploy: { gcp: { project: flights-prod-4711, region: europe-west3 } }\n"


def main(python: Path) -> int:
    """Write the module of the blank example, and compare it."""
    with tempfile.TemporaryDirectory() as place:
        project = Path(place, "project")
        templates.init("blank", project)
        with (project / "trimtab.yaml").open("a") as policy:
            policy.write(CLOUD)
        trimtab(project, "export", "terraform", "--write")
        return subprocess.run([python, CALLS, project / "deploy" / "terraform" / "gcp"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
