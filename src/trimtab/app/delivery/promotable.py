"""What a bundle has to show in the environment that it comes from: its gates, time in service, a smoke test."""

from __future__ import annotations

from datetime import timedelta

from trimtab import settings, units
from trimtab.app.delivery.gateway_requests import GatewayRequests
from trimtab.app.delivery.outcomes import Checks
from trimtab.app.delivery.smoke_test import SmokeOptions, test_gateway
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.workspace import Workspace
from trimtab.errors import ActionError, NotFound
from trimtab.records.gate_reports import GateReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle

WAIT_S = 10.0
"""How long the gateway may take to be ready and to follow the newest revision."""


def expect_promotable(source: Workspace, target: Workspace, bundle: Bundle) -> None:
    """Raise ActionError unless a bundle has shown in the source what the policy of the target asks for."""
    _passed(source, bundle)
    _soaked(source, target, bundle)
    if target.environment.smoke:
        _answers(source, target, bundle)


def _passed(source: Workspace, bundle: Bundle) -> None:
    """Raise ActionError for a bundle whose gates failed, or that was never judged."""
    try:
        report = source.metadata.get(GateReport, bundle.gate_report)
    except NotFound as error:
        raise ActionError(f"bundle {bundle.id} of {source.name} has no report of its gates: {error}") from None
    if report.verdict == "fail":
        failed = ", ".join(each.gate for each in report.results if each.verdict == "fail")
        raise ActionError(f"bundle {bundle.id} of {source.name} did not pass its gates ({failed}), so it stays there")


def _soaked(source: Workspace, target: Workspace, bundle: Bundle) -> None:
    """Raise ActionError for a bundle that has not served as champion in the source for as long as the policy asks."""
    soak = target.environment.soak
    if soak is None:
        return
    served, until = timedelta(), source.now()
    for revision in source.metadata.find(Revision, model=bundle.model):
        if revision.bundle_in("champion") == bundle.id:
            served += until - revision.created_at
        until = revision.created_at
    micros = served // timedelta(microseconds=1)
    if micros < soak:
        raise ActionError(
            f"bundle {bundle.id} has served in {source.name} for {units.short(micros)}; "
            f"environments.{target.name}.soak asks for {units.short(soak)}"
        )


def _answers(source: Workspace, target: Workspace, bundle: Bundle) -> None:
    """Raise ActionError unless the gateway of the source passes the smoke test with the bundle."""
    asked = f"environments.{target.name}.smoke asks that the gateway of {source.name} answers with {bundle.id}"
    running = running_gateway(source.run_folder)
    url = source.environment.gateway or (None if running is None else url_of(running))
    if url is None:
        raise ActionError(
            f"{asked}, but none runs here: start it with trimtab serve --env {source.name}, or set "
            f"environments.{source.name}.gateway"
        )
    tls = source.project.policy.serving.tls
    certificate = None if tls is None else source.project.folder / tls.certificate
    checks = Checks(lambda outcome: None)
    gateway = GatewayRequests(url, token=settings.read().token, certificate=certificate)
    test_gateway(source, gateway, SmokeOptions(model=bundle.model, version=bundle.version, wait_s=WAIT_S), checks)
    failed = [f"{each.group}: {each.check}: {each.text}" for each in checks.outcomes if each.verdict == "fail"]
    if failed:
        raise ActionError(f"{asked}, which it does not: {'; '.join(failed)}")
