"""Versions of prompts: packed, registered under a number, mirrored in MLflow, promoted by alias."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.prompt_project import PROMPT, write_prompt_project
from trimtab.app.delivery.bundle_copy import copy_bundle
from trimtab.app.llm.prompt_versions import current_spec, load_prompt, register_prompt, stage_prompt
from trimtab.app.project.mlflow_access import mirror_prompt, open_registry, open_tracking, set_aliases
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.manifest import verify
from trimtab.bundle.prompt_spec import TURN_FEATURES
from trimtab.bundle.spec import read_spec
from trimtab.errors import GateRefused, StageError
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.llm import EndpointVersion
from trimtab.records.record import Verdict
from trimtab.records.training import Bundle, Run


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(write_prompt_project(tmp_path))


def judged(workspace: Workspace, *, staged: bool = True, verdict: Verdict = "pass") -> tuple[Run, GateReport]:
    """Return a run of the present version that the gates have judged."""
    spec, tracking = current_spec(workspace), open_tracking(workspace)
    id_ = tracking.begin("triage", spec.prompt_hash, name="triage", tags={})
    run = Run(
        id=id_,
        created_at=workspace.now(),
        key=spec.prompt_hash,
        model="triage",
        dataset="tickets/0",
        experiment="triage",
        seed=0,
        params=dict(spec.params),
        metrics={"exact": 0.9},
        code_version="unversioned",
        environment_hash="",
        cpu_seconds=0.0,
        wall_seconds=0.0,
        peak_memory_mb=0.0,
        cost=0.01,
        model_hash=spec.prompt_hash,
        staging=stage_prompt(workspace, spec, run=id_, dataset="tickets/0") if staged else "",
        purpose="evaluate",
    )
    result = GateResult(
        gate="quality", metric="exact", verdict=verdict, value=0.9, low=None, high=None, threshold=None, reason="why"
    )
    report = GateReport(
        id=f"{id_}/gates/0",
        created_at=workspace.now(),
        model="triage",
        run=id_,
        champion=None,
        verdict=verdict,
        results=(result,),
    )
    workspace.metadata.put(run)
    workspace.metadata.put(report)
    return run, report


def test_a_version_is_a_bundle_with_all_that_changes_an_answer(workspace: Workspace) -> None:
    bundle = register_prompt(workspace, *judged(workspace), files={"reference/topics.npz": b"1"})
    folder = workspace.artifacts.open(bundle.path)
    assert (bundle.id, bundle.kind, bundle.upstream_model) == ("triage/1", "prompt", "classifier")
    assert load_prompt(workspace, bundle) == current_spec(workspace)
    assert verify(folder, bundle.digest) == bundle.digest
    spec = read_spec(folder)
    assert (spec.task, spec.runtime, spec.features, spec.code_hash) == (
        "chat",
        "chat",
        TURN_FEATURES,
        bundle.prompt_hash,
    )
    assert (folder / "reference" / "topics.npz").read_bytes() == b"1"
    endpoint = workspace.metadata.get(EndpointVersion, bundle.endpoint)
    assert (endpoint.name, endpoint.models, endpoint.url) == ("local", ("classifier",), "loopback")


def test_a_run_is_registered_once_and_a_refused_one_never(workspace: Workspace) -> None:
    run, report = judged(workspace)
    first = register_prompt(workspace, run, report)
    assert register_prompt(workspace, run, report) == first
    with pytest.raises(GateRefused):
        register_prompt(workspace, *judged(workspace, verdict="fail"))
    assert [each.id for each in workspace.metadata.find(Bundle, model="triage")] == ["triage/1"]


def test_a_run_without_a_packed_version_is_packed_if_the_prompt_is_still_the_same(workspace: Workspace) -> None:
    run, report = judged(workspace, staged=False)
    write_prompt_project(workspace.project.folder, prompt=PROMPT.replace("one queue", "a queue"))
    with pytest.raises(StageError, match="prompt 'triage' has changed since run"):
        register_prompt(workspace, run, report)
    write_prompt_project(workspace.project.folder)
    assert register_prompt(workspace, run, report).prompt_hash == run.model_hash


def test_mlflow_mirrors_versions_and_aliases(workspace: Workspace) -> None:
    bundles = []
    for queue in ("one queue", "a queue"):
        folder = write_prompt_project(workspace.project.folder, prompt=PROMPT.replace("one queue", queue))
        bundles.append(register_prompt(open_workspace(folder), *judged(open_workspace(folder))))
    rollouts = open_rollouts(workspace, "triage")
    rollouts.deploy(bundles[0], cause="a", reason="first", by="ann")
    set_aliases(workspace, rollouts.deploy(bundles[1], cause="b", reason="better", by="ann", role="champion"))
    client = open_tracking(workspace).client
    found = client.get_prompt_version_by_alias("desk.triage.prompt", "champion")
    assert (found.version, open_registry(workspace).alias("triage", "champion")) == (2, 2)
    assert found.template == [
        {
            "role": "system",
            "content": (
                "Sort the ticket about {{ product }} into a queue:\n- billing: charged, invoice, refund\n"
                '- delivery: parcel, late, courier\nAnswer with JSON: {{"queue": ...}}.'
            ),
        },
        {"role": "user", "content": "{{ ticket }}"},
    ]
    assert found.model_config == {
        "provider": "local",
        "model_name": "classifier",
        "temperature": 0,
        "max_tokens": 60,
    }
    back = rollouts.rollback(cause="c", reason="worse", by="ann")
    set_aliases(workspace, back)
    assert client.get_prompt_version_by_alias("desk.triage.prompt", "champion").version == 1


def test_a_version_is_promoted_into_another_environment_whole(tmp_path: Path) -> None:
    folder = write_prompt_project(tmp_path, policy="project: desk\nenvironments: { production: {} }\n")
    here, there = open_workspace(folder), open_workspace(folder, "production")
    bundle = register_prompt(here, *judged(here))
    copied = copy_bundle(here, there, bundle)
    assert (copied.kind, copied.digest, copied.prompt_hash) == ("prompt", bundle.digest, bundle.prompt_hash)
    assert load_prompt(there, copied) == load_prompt(here, bundle)
    assert there.metadata.get(EndpointVersion, copied.endpoint).name == "local"
    assert (
        open_tracking(there).client.get_prompt_version("desk.triage.prompt", "1").tags["trimtab.bundle"] == "triage/1"
    )


def test_the_mirror_of_a_lost_database_has_the_numbers_of_the_bundles(workspace: Workspace) -> None:
    run, report = judged(workspace)
    bundle = register_prompt(workspace, run, report)
    client = open_tracking(workspace).client
    client.delete_prompt("desk.triage.prompt")
    workspace.metadata.put(replace(bundle, id="triage/3", version=3, digest="other"))
    mirror_prompt(workspace, "triage")
    versions = [client.get_prompt_version("desk.triage.prompt", str(number)) for number in (1, 3)]
    assert [each.tags["trimtab.digest"] for each in versions if each] == [bundle.digest, "other"]
