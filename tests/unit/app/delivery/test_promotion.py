"""Bundles that are promoted from one environment into another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kit.environments import Pair
from kit.small_project import AS_OF, TwoRuns
from trimtab.app.delivery.promotion import promote
from trimtab.app.operations.actors import Actor
from trimtab.app.project.mlflow_access import open_registry, set_aliases
from trimtab.app.project.workspace import open_workspace
from trimtab.app.reports.lineage import origin_of
from trimtab.app.reports.status import status
from trimtab.app.reports.store_checks import look_inside
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import ingesting, pipeline
from trimtab.bundle.manifest import verify
from trimtab.clock import ManualClock, to_micros
from trimtab.errors import ActionError, Forbidden, StageError, TrimtabError, UsageError
from trimtab.records.gate_reports import GateReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "project")


def expect_nothing(pair: Pair) -> None:
    """Production has no bundle, and nothing serves there."""
    assert pair.production.metadata.find(Bundle) == []
    assert pair.production.metadata.find(Revision) == []
    assert pair.production.artifacts.names() == []


def test_a_trained_bundle_serves_in_production_with_all_that_is_behind_it(two_runs: TwoRuns, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(two_runs.workspace.project.folder, tmp_path / "project"))
    with (folder / "trimtab.yaml").open("a") as policy:
        policy.write("environments: { staging: { folder: .trimtab }, production: {} }\n")
    staging = open_workspace(folder, "staging", ManualClock(AS_OF))
    production = open_workspace(folder, "production", ManualClock(AS_OF))
    run = two_runs.first
    bundle = pipeline.register(staging, run, staging.metadata.find(GateReport, run=run.id)[0], serves=run)

    ann = Actor(name="ann", role="approver")
    revision = promote(staging, production, ann, bundle, reason="it is good")

    assert (revision.number, revision.action, revision.by, revision.reason) == (1, "deploy", "ann", "it is good")
    assert revision.origin is not None
    assert (revision.origin.environment, revision.origin.bundle) == ("staging", "risk/1")
    copied = production.metadata.get(Bundle, "risk/1")
    assert copied.digest == bundle.digest == revision.origin.digest
    assert verify(production.artifacts.open(copied.path)) == bundle.digest
    origin = origin_of(production, copied)
    assert (origin.run.id, origin.gates.run, origin.run.made_in) == (run.id, run.id, "staging")
    assert (origin.dataset.id, [each.id for each in origin.tables]) == (f"staging:{run.dataset}", ["staging:rows@0"])
    assert (production.artifacts.open(origin.run.staging) / "code" / "definitions.py").is_file()
    assert status(production)["models"]["risk"]["money"]["training"] == 0, "staging has paid for it"
    with pytest.raises(StageError, match="has no run yet"):
        pipeline.newest(production, Run, "risk")
    assert [fault.fault.text for _, faults in look_inside(production) for fault in faults] == []
    assert open_registry(production).tags("risk", 1)["trimtab.digest"] == bundle.digest
    assert promote(staging, production, ann, bundle, reason="again") == revision, "a second call changes nothing"


def test_a_bundle_keeps_its_number_where_it_is_higher_than_all(pair: Pair) -> None:
    third, fifth = pair.bundle(3), pair.bundle(5, (0.2, 0.9))

    assert pair.promote(fifth).assignments[0].bundle == "delay/5"
    older = pair.promote(third)

    assert older.assignments[0].bundle == "delay/6", "3 is lower than 5, and numbers only grow"
    assert older.origin is not None
    assert older.origin.bundle == "delay/3"
    assert pair.production.metadata.get(Bundle, "delay/6").digest == third.digest
    registry = open_registry(pair.production)
    assert {n: registry.tags("delay", n)["trimtab.digest"] for n in (5, 6)} == {5: fifth.digest, 6: third.digest}


def test_a_changed_file_is_refused_before_anything_is_copied(pair: Pair) -> None:
    bundle = pair.serve(1)
    (pair.staging.artifacts.open(bundle.path) / "model.onnx").write_bytes(b"other")

    with pytest.raises(ActionError, match=r"1 of staging is damaged.*model\.onnx: content differs from the manifest"):
        pair.promote()

    expect_nothing(pair)


def test_files_that_were_lost_come_again(pair: Pair) -> None:
    pair.serve(1)
    revision = pair.promote()
    bundle = pair.production.metadata.get(Bundle, "delay/1")
    shutil.rmtree(pair.production.artifacts.open(bundle.path))

    assert pair.promote() == revision
    assert verify(pair.production.artifacts.open(bundle.path)) == bundle.digest


def test_files_that_lie_there_already_are_verified(pair: Pair) -> None:
    bundle, store = pair.serve(1), pair.production.artifacts
    draft = store.staging()
    (draft / "model.onnx").write_bytes(b"other")
    store.publish(draft, f"bundles/delay/{bundle.digest[:16]}")

    with pytest.raises(ActionError, match="cannot come into production"):
        pair.promote()

    assert pair.production.metadata.find(Bundle) == []


def test_a_bundle_that_failed_its_gates_stays(pair: Pair) -> None:
    with pytest.raises(ActionError, match="did not pass its gates"):
        pair.promote(pair.bundle(1, verdict="fail"))

    expect_nothing(pair)


def test_the_role_below_approver_may_not(pair: Pair) -> None:
    pair.serve(1)

    with pytest.raises(Forbidden, match="needs the role approver"):
        pair.promote(actor=Actor(name="bob", role="developer"))

    expect_nothing(pair)


def test_without_a_champion_there_is_nothing_to_promote(pair: Pair) -> None:
    with pytest.raises(ActionError, match="nothing serves for model 'delay' in staging"):
        pair.promote()


def test_values_of_views_that_are_absent_are_refused_with_what_to_run(pair: Pair) -> None:
    ingesting.ingest(pair.staging)
    bundle = pair.serve(1, views=True)

    with pytest.raises(StageError, match=r"table 'orders' is empty there. Run: trimtab ingest --env production"):
        pair.promote()
    expect_nothing(pair)

    ingesting.ingest(pair.production)
    pair.promote()
    watermark = pair.production.online.watermark(bundle.views[0])
    assert watermark is not None
    assert watermark <= to_micros(pair.production.now())


@pytest.mark.parametrize(
    ("environments", "error"),
    [
        ({"staging": {}, "production": {"folder": ".trimtab/environments/staging"}}, "both have the same metadata"),
        ({"staging": {"predictions": "log"}, "production": {"predictions": "log"}}, "both have the same predictions"),
    ],
)
def test_environments_that_share_stores_are_refused(tmp_path: Path, environments: object, error: str) -> None:
    pair = Pair(tmp_path / "project", environments=environments)

    with pytest.raises(UsageError, match=error):
        pair.promote(pair.bundle(1))


def test_an_environment_is_not_promoted_into_itself(pair: Pair) -> None:
    bundle = pair.serve(1)

    with pytest.raises(TrimtabError, match="both have the same metadata"):
        promote(pair.staging, pair.staging, Actor(name="ann", role="admin"), bundle, reason="")


def test_environments_with_one_registry_have_aliases_of_their_own(tmp_path: Path) -> None:
    tracking = {"tracking": f"sqlite:///{tmp_path / 'shared.db'}"}
    pair = Pair(tmp_path / "project", environments={"staging": tracking, "production": tracking})
    first = pair.serve(1)
    set_aliases(pair.staging, open_rollouts(pair.staging, "delay").current() or pair.promote())
    set_aliases(pair.production, pair.promote())
    pair.serve(2, (0.2, 0.9))
    set_aliases(pair.staging, open_rollouts(pair.staging, "delay").current() or pair.promote())

    registry = open_registry(pair.production)
    aliases = {name: registry.alias("delay", name) for name in ("champion", "staging-champion", "production-champion")}
    assert aliases == {"champion": None, "staging-champion": 2, "production-champion": 1}
    assert pair.production.metadata.get(Bundle, "delay/1").digest == first.digest
