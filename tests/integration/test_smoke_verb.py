"""`trimtab smoke` against a gateway as a user starts it: what is right and wrong, and what it leaves in the log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import polars as pl
import pytest

from integration.gateway_project import GatewayProject, Make
from kit.commands import typed
from trimtab.app.gateway.tokens import create
from trimtab.app.stages.sampled_sources import take_sample
from trimtab.records.training import Bundle
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec


def deploy_with_reference(project: GatewayProject, version: int, score: float) -> None:
    """Bring a version into service whose bundle says that the row 1 has a score; it gives 0.8."""
    folder = project.workspace.artifacts.staging()
    (folder / "reference").mkdir(parents=True)
    pl.DataFrame({"row": [1.0], "score": [score]}).write_parquet(folder / "reference" / "rows.parquet")
    made = project.bundle(version + 100)
    digest = pack_bundle(folder, lookup_graph((0.1, 0.8)), plain_spec("delay", ["row"], entity_keys=("who",)))
    path = project.workspace.artifacts.publish(folder, f"bundles/delay/reference-{version}")
    bundle: Bundle = msgspec.structs.replace(made, id=f"delay/{version}", version=version, digest=digest, path=path)
    project.workspace.metadata.put(bundle)
    project.rollouts.deploy(bundle, cause=f"deploy {version}", reason="a test", by="tests")


def test_each_version_that_serves_is_asked_and_a_wrong_one_is_found(make: Make, tmp_path: Path) -> None:
    project, report = make(), tmp_path / "smoke.xml"
    rows = pl.DataFrame({"moment": [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2)], "row": [0.0, 1.0]})
    take_sample(project.workspace, project.workspace.project.definitions.sources["flights"], rows, "two days")
    deploy_with_reference(project, 1, 0.8)
    deploy_with_reference(project, 2, 0.9)
    project.start()
    done = typed("smoke", "-p", project.folder, "--junit", report, check=False)
    assert done.returncode == 1, done.stdout
    for line in (
        "model delay: revision: revision 2: champion 1 with 90 %, challenger 2 with 10 %",
        "model delay version 1: signature: 1 request columns, 1 features, as in delay/1",
        "model delay version 1: reference row: 0.8, as in the bundle, in ",
        "model delay version 1: newest example: 0.8 in ",
        "model delay version 2: reference row: the gateway answers 0.8",
        "model delay: invalid request: refused with 400",
    ):
        assert line in done.stdout
    assert [line[:4] for line in done.stdout.splitlines()].count("fail") == 1
    assert ElementTree.parse(report).getroot()[0].get("failures") == "1"
    assert typed("smoke", "-p", project.folder, "--version", "1").returncode == 0
    assert "version 7 does not serve" in typed("smoke", "-p", project.folder, "--version", "7", check=False).stdout
    assert {row["route"] for row in project.rows() if row["served"]} == {"pinned"}, "no model is judged by them"
    started = typed("smoke", "-p", project.folder, "--start", check=False)
    assert (started.returncode, started.stderr) == (1, done.stderr), "the one that runs is tested"
    project.stop()
    assert typed("smoke", "-p", project.folder, check=False).returncode == 3
    gone = typed("smoke", "http://127.0.0.1:9", "-p", project.folder, "--wait", "10ms", check=False)
    assert (gone.returncode, "cannot be reached" in gone.stdout) == (3, True)


def test_a_gateway_that_asks_for_tokens_gets_one_from_a_variable(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make(serving={"authentication": "tokens"})
    project.deploy(1)
    _, secret = create(project.workspace.metadata, project.workspace.clock, "ci", by="tests")
    url = project.start()
    refused = typed("smoke", url, "-p", project.folder, check=False)
    assert refused.returncode == 1
    assert "status 401" in refused.stdout
    assert "--token-env NAME" in refused.stdout
    assert typed("smoke", url, "-p", project.folder, "--token-env", "GATEWAY_TOKEN", check=False).returncode == 2
    monkeypatch.setenv("GATEWAY_TOKEN", secret)
    done = typed("smoke", url, "-p", project.folder, "--token-env", "GATEWAY_TOKEN")
    assert "skip" in done.stdout, "the bundle has no reference rows, and the table none"
    assert secret not in done.stdout
