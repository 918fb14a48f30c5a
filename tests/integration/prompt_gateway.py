"""A small project whose gateway of prompts runs as a user starts it, with versions that were not judged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from kit.prompt_project import DEFINITIONS, PROMPT, write_prompt_project
from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.gateway.prompt_gateway import prompt_run_folder
from trimtab.app.llm.prompt_versions import current_spec
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.bundle.manifest import write_manifest
from trimtab.bundle.prompt_spec import PROMPT_FILE, TURN_FEATURES, PromptSpec, write_prompt
from trimtab.bundle.spec import Spec, write_spec
from trimtab.records.training import Bundle


class PromptGateway:
    """A project folder with one prompt, its records, and its gateway process."""

    def __init__(self, folder: Path, *, definitions: str = DEFINITIONS, prompt: str = PROMPT, **sections: Any) -> None:
        serving = {"port": 0, **sections.pop("serving", {})}
        policy = yaml.safe_dump({"project": "desk", "serving": serving, **sections})
        self.folder = write_prompt_project(folder, prompt=prompt, definitions=definitions, policy=policy)
        self.workspace: Workspace = open_workspace(folder)
        self.rollouts: Rollouts = open_rollouts(self.workspace, "triage")
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, text: str) -> PromptSpec:
        """Change the prompt's file; return its version."""
        (self.folder / "prompts" / "triage.md").write_text(text)
        return current_spec(self.workspace)

    def deploy(self, version: int, text: str = PROMPT) -> None:
        """Bring a version into service, as the policy's strategy says."""
        spec = self.write(text)
        folder = self.workspace.artifacts.staging()
        write_prompt(folder, spec)
        write_spec(folder, plain_spec(spec))
        digest = write_manifest(folder)
        bundle = Bundle(
            id=f"triage/{version}",
            created_at=self.workspace.now(),
            model="triage",
            version=version,
            run=f"run{version}",
            dataset="",
            gate_report="",
            digest=digest,
            path=self.workspace.artifacts.publish(folder, f"bundles/triage/{digest[:16]}"),
            features=TURN_FEATURES,
            views=(),
            threshold=0.5,
            kind="prompt",
            prompt_hash=spec.prompt_hash,
        )
        self.workspace.metadata.put(bundle)
        self.rollouts.deploy(bundle, cause=f"deploy {version}", reason="a test", by="tests")

    def start(self, *options: str) -> str:
        """Start the gateway; return its URL when it is ready."""
        command = [sys.executable, "-m", "trimtab.cli", "serve", "--project", str(self.folder), *options]
        with (self.folder / "gateway.log").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=dict(os.environ))
        run_folder = prompt_run_folder(self.workspace)

        def announced() -> str | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            found = running_gateway(run_folder)
            return url_of(found) if found else None

        return str(wait_for(announced, "the gateway announces itself"))

    def log(self) -> str:
        """Return what the gateway said."""
        return (self.folder / "gateway.log").read_text()

    def stop(self) -> int:
        """End the gateway; return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def plain_spec(spec: PromptSpec) -> Spec:
    """Return the description of the bundle of a prompt."""
    return Spec(
        model=spec.name,
        task="chat",
        label="bad_turn",
        features=TURN_FEATURES,
        request_columns=(),
        entity_keys=(),
        timestamp="",
        threshold=0.5,
        run="",
        dataset="",
        views=(),
        code_hash=spec.prompt_hash,
        runtime="chat",
        model_file=PROMPT_FILE,
    )
