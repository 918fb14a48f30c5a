"""The gateway of a project: its configuration, and where it runs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trimtab.app.gateway.project_control import ProjectControl
from trimtab.app.project.child_processes import WORKER
from trimtab.app.project.process_files import is_running
from trimtab.app.project.requirements import require_packages
from trimtab.app.project.workspace import Workspace
from trimtab.definitions.push_source import PushSource
from trimtab.policy.environments import env_option
from trimtab.policy.model import Policy
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement, GatewayConfig
from trimtab.serving.worker_options import Fallbacks, FiredTrigger, PushedSource, Tls, WorkerOptions
from trimtab.stores.catalog import spool_folder
from trimtab.units import MICROS


def running_gateway(run_folder: Path) -> Announcement | None:
    """Return the announcement of the gateway that runs for a project, or None."""
    try:
        found = msgspec.json.decode((run_folder / ANNOUNCEMENT).read_bytes(), type=Announcement)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if is_running(found.pid) else None


def gateway_config(
    workspace: Workspace,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    grpc_port: int | None = None,
) -> GatewayConfig:
    """Return the gateway's configuration for a project. No store is opened yet: the workers start first."""
    require_packages(workspace.project, workspace.environment, grpc_port=grpc_port, loop=False)
    policy, folder = workspace.project.policy, workspace.project.folder
    serving, log = policy.serving, policy.serving.log
    places = {"predictions": workspace.environment.predictions, "online": workspace.environment.online}
    setup = {
        "root": str(workspace.root),
        "project": str(workspace.project.folder),
        "segment_rows": str(log.segment_rows),
        "segment_age_s": str(_seconds(log.segment_age)),
        **{name: url for name, url in places.items() if url is not None},
    }
    return GatewayConfig(
        worker_command=WORKER,
        setup=setup,
        open_control=lambda: ProjectControl(workspace),
        options=msgspec.structs.replace(
            worker_options(policy, folder),
            kpis=pushed_kpis(workspace),
            sources=pushed_sources(workspace),
            models=tuple(workspace.project.definitions.models),
            triggers=fired_triggers(policy, workspace.name),
        ),
        run_folder=workspace.run_folder,
        workers=workers or serving.workers,
        host=host or serving.host,
        port=serving.port if port is None else port,
        grpc_port=serving.grpc_port if grpc_port is None else grpc_port,
        load_timeout_s=_seconds(serving.load_timeout),
    )


def worker_options(policy: Policy, folder: Path) -> WorkerOptions:
    """Return what the policy tells each worker; relative paths start at the project folder."""
    serving, fallback = policy.serving, policy.rollout.fallback
    tls, tokens = None, serving.authentication == "tokens"
    if serving.tls is not None:
        authority = serving.tls.client_ca
        tls = Tls(
            str(folder / serving.tls.certificate),
            str(folder / serving.tls.key),
            None if authority is None else str(folder / authority),
        )
    return WorkerOptions(
        max_body=serving.max_body,
        max_rows=serving.max_rows,
        max_waiting_rows=serving.max_waiting_rows,
        timeout_s=_seconds(serving.timeout),
        drain_s=_seconds(serving.drain),
        drain_delay_s=_seconds(serving.drain_delay or 0),
        durability=serving.log.durability,
        flush_s=_seconds(serving.log.interval),
        when_full=serving.log.when_full,
        fallbacks=Fallbacks(
            previous_champion=fallback.previous_champion,
            value=fallback.value,
            slower_than_s=None if fallback.slower_than is None else _seconds(fallback.slower_than),
        ),
        trust=tuple(serving.trust),
        authentication=tokens,
        checks=serving.checks,
        tls=tls,
        allowed_hosts=tuple(serving.allowed_hosts) if serving.allowed_hosts or not tokens else None,
        allowed_origins=tuple(serving.allowed_origins),
        tell_inputs=policy.rollout.rollback_when.constant_output is not None,
    )


def pushed_kpis(workspace: Workspace) -> tuple[str, ...]:
    """Return the names of the KPI streams whose points clients push."""
    return tuple(name for name, kpi in workspace.project.definitions.kpis.items() if kpi.is_pushed)


def pushed_sources(workspace: Workspace) -> tuple[PushedSource, ...]:
    """Return the sources whose rows clients push."""
    sources = [each for each in workspace.project.definitions.sources.values() if isinstance(each, PushSource)]
    return tuple(
        PushedSource(
            name=source.name,
            columns=dict(source.schema),
            required=(source.timestamp, *source.key),
            folder=str(spool_folder(workspace.root, source.name).absolute()),
        )
        for source in sources
    )


def fired_triggers(policy: Policy, environment: str) -> tuple[FiredTrigger, ...]:
    """Return the triggers of an environment, which clients may fire whatever else they start by."""
    return tuple(
        FiredTrigger(
            name=name,
            branch=rule.branch if rule.on == "merge" else None,
            secret=rule.secret,
            option=env_option(environment),
        )
        for name, rule in policy.triggers.items()
    )


def url_of(gateway: Announcement) -> str:
    """Return the base URL of a gateway."""
    return gateway.url


def _seconds(micros: int) -> float:
    return micros / MICROS["s"]
