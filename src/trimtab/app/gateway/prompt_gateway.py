"""The gateway of a project's prompts: worker processes of their own, on a port of their own (docs/decisions/0040)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trimtab.app.gateway.configuration import running_gateway, worker_options
from trimtab.app.gateway.other_gateway import FOLDER
from trimtab.app.gateway.project_control import ProjectControl
from trimtab.app.project.child_processes import CHAT_WORKER
from trimtab.app.project.workspace import Workspace
from trimtab.llm.prompt_assembly import endpoint_spec
from trimtab.policy.model import Policy
from trimtab.serving.processes.listening import Announcement, GatewayConfig
from trimtab.units import MICROS

ROOM = 2**20
"""Bytes of a body beside its messages."""


def prompt_run_folder(workspace: Workspace) -> Path:
    """Return the run folder of the gateway of prompts; that of the project where no models are served."""
    if not workspace.project.definitions.models:
        return workspace.run_folder
    folder = workspace.run_folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def running_prompts(workspace: Workspace) -> Announcement | None:
    """Return the announcement of the gateway of prompts beside that of models; None: it is not running, or the same."""
    definitions = workspace.project.definitions
    if not definitions.models or not definitions.prompts:
        return None
    return running_gateway(workspace.run_folder / FOLDER)


def prompt_port(policy: Policy, *, with_models: bool, port: int | None = None) -> int:
    """Return the port of the gateway of prompts. port: of the gateway of models, in the place of the policy's."""
    if policy.llm.port is not None and (with_models or port is None):
        return policy.llm.port
    base = policy.serving.port if port is None else port
    return base + 1 if with_models and base else base


def prompt_gateway_config(
    workspace: Workspace, *, host: str | None = None, port: int | None = None, workers: int | None = None
) -> GatewayConfig:
    """Return the configuration of the gateway of prompts. port: its own, in the place of the policy's."""
    policy, folder = workspace.project.policy, workspace.project.folder
    llm, serving, log = policy.llm, policy.serving, policy.serving.log
    run_folder = prompt_run_folder(workspace)
    with_models = bool(workspace.project.definitions.models)
    places = {"predictions": workspace.environment.predictions, "metadata": workspace.environment.metadata}
    total_s = llm.timeouts.total / MICROS["s"]
    options = worker_options(policy, folder)
    limits = [llm.limits, *llm.token_limits.values()]
    return GatewayConfig(
        worker_command=CHAT_WORKER,
        setup={
            "root": str(workspace.root),
            "run_folder": str(workspace.run_folder),
            "segment_rows": str(log.segment_rows),
            "segment_age_s": str(log.segment_age / MICROS["s"]),
            "llm": llm.model_dump_json(),
            "endpoints": _endpoints(workspace) if llm.passthrough else "{}",
            **{name: url for name, url in places.items() if url is not None},
        },
        open_control=lambda: ProjectControl(workspace, "prompt", run_folder),
        options=msgspec.structs.replace(
            options,
            max_body=max(each.input for each in limits) + ROOM,
            drain_s=max(options.drain_s, total_s),
            tell_inputs=False,
        ),
        run_folder=run_folder,
        workers=workers or llm.workers,
        host=host or serving.host,
        port=prompt_port(policy, with_models=with_models) if port is None else port,
        load_timeout_s=serving.load_timeout / MICROS["s"],
        preflights=False,
    )


def _endpoints(workspace: Workspace) -> str:
    """Return the endpoints of the project by name, as JSON."""
    endpoints = workspace.project.definitions.endpoints
    return msgspec.json.encode({name: endpoint_spec(each) for name, each in endpoints.items()}).decode()
