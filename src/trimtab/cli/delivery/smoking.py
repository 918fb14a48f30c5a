"""The verb that tests a running gateway by HTTP."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from trimtab import settings
from trimtab.app.delivery.gateway_requests import GatewayRequests
from trimtab.app.delivery.outcomes import Checks
from trimtab.app.delivery.smoke_test import SmokeOptions, test_gateway
from trimtab.app.delivery.started_gateway import started_gateway
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.cli.context import Context, Verbs
from trimtab.cli.delivery.testing import Junit, finish, show_outcome
from trimtab.errors import StoreError, UsageError
from trimtab.units import MICROS, micros

app = Verbs()


@app.verb(model=True)
def smoke(
    context: Context,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of a gateway; by default the one of the environment.")
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Version that must serve; by default those of the newest revision."),
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start one for the time of the test where none runs.")] = False,
    wait: Annotated[str, typer.Option(metavar="DURATION", help="How long a gateway may take to become ready.")] = "60s",
    token_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds a token of the gateway.")
    ] = None,
    junit: Junit = None,
) -> None:
    """Test a running gateway by HTTP: is it ready, and does each model answer as it should?

    Exit code 1 when something is wrong, 3 when the gateway cannot be reached.
    """
    if start and url is not None:
        raise UsageError("--start tests a gateway of its own; leave the URL out")
    if version is not None:
        context.definition  # noqa: B018 - raises when several models could be meant
    try:
        wait_s = micros(wait) / MICROS["s"]
    except ValueError as error:
        raise UsageError(f"--wait: {error}") from None
    token = None
    if token_env is not None and not (token := settings.variable(token_env)):
        raise UsageError(f"--token-env {token_env}: this environment variable is not set")
    workspace = context.workspace
    model = None if context.model is None and version is None else context.definition.name
    checks = Checks(lambda outcome: None if context.json else show_outcome(outcome))
    with ExitStack() as stack:
        if start and running_gateway(workspace.run_folder) is None:
            url = stack.enter_context(started_gateway(workspace, context.env, wait_s=wait_s))
        tls = workspace.project.policy.serving.tls
        certificate = None if tls is None else workspace.project.folder / tls.certificate
        gateway = GatewayRequests(url or _url(context), token=token, certificate=certificate)
        test_gateway(workspace, gateway, SmokeOptions(model=model, version=version, wait_s=wait_s), checks)
    finish(context, checks.outcomes, "trimtab smoke", junit)


def _url(context: Context) -> str:
    """Return the address of the environment's gateway. Raises StoreError when none is named and none runs here."""
    named = context.workspace.environment.gateway
    if named is not None:
        return named
    found = running_gateway(context.workspace.run_folder)
    if found is None:
        raise StoreError(
            "no gateway runs here for this environment: name its URL, or set environments.NAME.gateway in "
            "trimtab.yaml, or start one for the time of the test: trimtab smoke --start"
        )
    return url_of(found)
