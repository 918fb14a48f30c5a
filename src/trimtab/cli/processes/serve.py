"""The verb that serves. Kept apart, so that the gateway imports only what it needs."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from trimtab import settings
from trimtab.app.gateway.bucket_model import fetch_model
from trimtab.app.gateway.configuration import gateway_config, running_gateway, url_of
from trimtab.app.gateway.prompt_gateway import prompt_gateway_config, prompt_port
from trimtab.app.gateway.standalone import StandaloneOptions, refuse_public, standalone_config
from trimtab.app.project.loopback_process import loopback_beside
from trimtab.app.project.process_files import send_signal
from trimtab.cli.context import Context, Verbs
from trimtab.errors import UsageError
from trimtab.metric_catalog import ModelTask
from trimtab.serving.processes.listening import Announcement, GatewayConfig
from trimtab.serving.processes.supervisor import serve as serve_forever
from trimtab.serving.protocols.platforms.containers import ContainerContract, container_contract
from trimtab.serving.telemetry.logs import configure_logging

app = Verbs()

POLICY = "trimtab.yaml"


@app.verb(json=False)
def serve(
    context: Context,
    path: Annotated[
        Path | None, typer.Argument(help="A bundle or an MLflow model to serve alone; left out, the project's models.")
    ] = None,
    only: Annotated[
        Literal["models", "prompts"] | None,
        typer.Option(help="Serve the project's models or its prompts alone; both by default, in two processes."),
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to bind; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes that answer.")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the gRPC service; left out, there is none.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With PATH: folder of the prediction log; left out, none.")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="With PATH: pyfunc, to run models that hold pickles, or a type that a skops file may hold.",
        ),
    ] = None,
    task: Annotated[ModelTask | None, typer.Option(help="With PATH: of an MLflow model that does not say it.")] = None,
    signed_by: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With PATH: PEM file of the key that signed it.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With PATH: PEM file of the certificate.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="With PATH: PEM file of its key.")] = None,
) -> None:
    """Run the gateway alone.

    It answers requests for predictions, takes feedback, and reports health and metrics.
    """
    configure_logging()
    read = settings.read()
    contract = container_contract(read)
    if contract is not None:
        typer.echo(f"serving for {contract.platform}: {contract.reason}", err=True)
    if path is None and contract is not None and contract.model:
        brought = Path(contract.model)  # a platform that brings a model means it, though the image holds a project
        if not (context.project / POLICY).is_file() or (brought.is_dir() and any(brought.iterdir())):
            path = brought
    bucket = contract.bucket if path is None and contract is not None else None
    if path is None and bucket is None:
        if log or trust or task or signed_by or tls_certificate or tls_key:
            alone = "--log, --trust, --task, --signed-by, --tls-certificate, --tls-key"
            raise UsageError(f"these options go with a PATH, a project says so in its trimtab.yaml: {alone}")
        _serve_project(context, contract, only, host=host, port=port, workers=workers, grpc_port=grpc_port)
        return
    if only:
        raise UsageError("--only chooses between the models and the prompts of a project; a PATH is one model")
    if (tls_certificate is None) != (tls_key is None):
        raise UsageError("--tls-certificate and --tls-key go together")
    asked = StandaloneOptions(
        host=host,
        port=port,
        grpc_port=grpc_port,
        workers=workers,
        log=log,
        trust=trust or (),
        task=task,
        signed_by=signed_by,
        tls=(tls_certificate, tls_key) if tls_certificate and tls_key else None,
    )
    with tempfile.TemporaryDirectory(prefix="trimtab-serve-") as run_folder:
        if bucket is not None:
            typer.echo(f"copying {bucket}", err=True)
            target = Path(run_folder) / "model"
            path = fetch_model(bucket, target, emulator=read.storage_emulator, metadata=read.metadata_host)
        assert path is not None
        config = standalone_config(path, Path(run_folder), asked)
        _run(config, contract, host, port)


def _serve_project(
    context: Context,
    contract: ContainerContract | None,
    only: Literal["models", "prompts"] | None,
    *,
    host: str | None,
    port: int | None,
    workers: int | None,
    grpc_port: int | None,
) -> None:
    """Serve models in this process, and prompts in a child; where only one of them is served, in this process."""
    workspace = context.workspace
    definitions, policy = workspace.project.definitions, workspace.project.policy
    if only == "prompts" and not definitions.prompts:
        raise UsageError("--only prompts: definitions.py has no tt.Prompt")
    if only == "prompts" or (only is None and definitions.prompts and not definitions.models):
        config = prompt_gateway_config(workspace, host=host, port=port, workers=workers)
        _tell_of_another(config)
        with loopback_beside(workspace):
            serve_forever(config, listening=lambda found: typer.echo(f"prompts  {url_of(found)}/v1  (Ctrl-C ends it)"))
        return
    config = gateway_config(workspace, host=host, port=port, workers=workers, grpc_port=grpc_port)
    _tell_of_another(config)
    with ExitStack() as stack:
        if only is None and definitions.prompts and contract is None:
            own = prompt_port(policy, with_models=True, port=port)
            stack.enter_context(_prompts_beside(context, host=host, port=own, workers=workers))
        _run(config, contract, host, port)


@contextmanager
def _prompts_beside(context: Context, *, host: str | None, port: int, workers: int | None) -> Iterator[None]:
    """Serve prompts in a child process. It prints its own errors."""
    command = [sys.executable, "-m", "trimtab.cli", "serve", "--only", "prompts", "--port", str(port)]
    command += ["--project", str(context.workspace.project.folder), "--env", context.env]
    command += [] if host is None else ["--host", host]
    command += [] if workers is None else ["--workers", str(workers)]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        send_signal(child.pid, signal.SIGTERM)
        child.wait()


def _run(config: GatewayConfig, contract: ContainerContract | None, host: str | None, port: int | None) -> None:
    if contract is not None:
        options = config.options
        config = replace(
            config,
            options=msgspec.structs.replace(
                options,
                max_body=max(options.max_body, contract.max_body or 0),
                allowed_hosts=options.allowed_hosts or None,  # the platform's own door is the only way in
            ),
            host=host or contract.host,
            port=contract.port if port is None else port,
            public=contract.reason,
        )
    if "standalone" in config.setup:
        refuse_public(config)
    serve_forever(config, listening=_tell)


def _tell_of_another(config: GatewayConfig) -> None:
    """Print at once that another gateway runs: this one then waits, in case the other is ending."""
    if found := running_gateway(config.run_folder):
        text = "a gateway of this project runs already, at {} (process {}); waiting a while, in case it is just ending"
        typer.echo(text.format(url_of(found), found.pid), err=True)


def _tell(found: Announcement) -> None:
    grpc = "" if found.grpc_port is None else f", gRPC on port {found.grpc_port}"
    typer.echo(f"gateway  {url_of(found)}{grpc}  (Ctrl-C ends it)")
