"""`trimtab prompts`: versions by name, what differs, and who uses what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.commands import typed
from kit.prompt_project import PROMPT, write_prompt_project
from trimtab.app.llm.prompt_listing import diff_prompts, find_version, list_prompts, used_by
from trimtab.app.llm.prompt_versions import current_spec
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.prompt_spec import TURN_FEATURES, write_prompt
from trimtab.errors import NotFound, UsageError
from trimtab.records.training import Bundle


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project with two registered versions: the first is champion, the second challenger; the files have a third."""
    for version, queue in enumerate(("one queue", "a queue"), start=1):
        made = open_workspace(write_prompt_project(tmp_path, prompt=PROMPT.replace("one queue", queue)))
        spec, folder = current_spec(made), made.artifacts.staging()
        write_prompt(folder, spec)
        bundle = Bundle(
            id=f"triage/{version}",
            created_at=made.now(),
            model="triage",
            version=version,
            run=f"run{version}",
            dataset="",
            gate_report="",
            digest=str(version),
            path=made.artifacts.publish(folder, f"bundles/triage/{version}"),
            features=TURN_FEATURES,
            views=(),
            threshold=0.5,
            kind="prompt",
            endpoint="local/1",
            prompt_hash=spec.prompt_hash,
        )
        made.metadata.put(bundle)
        rollouts = open_rollouts(made, "triage")
        rollouts._inspect = lambda bundle: None  # the bundles hold nothing but the prompt
        rollouts.deploy(bundle, cause=str(version), reason="", by="ann", role=("champion", "challenger")[version - 1])
    return open_workspace(write_prompt_project(tmp_path, prompt=PROMPT.replace("one queue", "its queue")))


def test_a_prompt_is_listed_with_what_serves(workspace: Workspace) -> None:
    (row,) = list_prompts(workspace)
    assert [(each.role, each.version) for each in row.serving] == [("champion", 1), ("challenger", 2)]
    assert (row.versions, row.same_as, row.quality, row.sets) == (2, None, "exact", ("tickets",))
    write_prompt_project(workspace.project.folder, prompt=PROMPT.replace("one queue", "a queue"))
    assert [each.same_as for each in list_prompts(workspace)] == [2]


def test_a_version_is_found_by_number_by_role_and_as_the_files_have_it(workspace: Workspace) -> None:
    found = {
        name: find_version(workspace, name).spec.sections["instructions"].split("into ")[1].split(":")[0]
        for name in ("triage", "triage@1", "triage/2", "triage@champion", "triage@challenger")
    }
    assert list(found.values()) == ["its queue", "one queue", "a queue", "one queue", "a queue"]
    with pytest.raises(UsageError, match=r"no prompt 'triag'. Did you mean 'triage'\?"):
        find_version(workspace, "triag@1")
    with pytest.raises(NotFound, match=r"has no version 'champoin'. Did you mean 'champion'\?"):
        find_version(workspace, "triage@champoin")
    with pytest.raises(NotFound, match=r"has no version '7'. Valid: 1, 2, challenger, champion, files"):
        find_version(workspace, "triage@7")


def test_two_versions_are_compared_by_field_and_line(workspace: Workspace) -> None:
    found = diff_prompts(find_version(workspace, "triage@1"), find_version(workspace, "triage@2"))
    assert found.fields == ("messages", "sections")
    assert "-Sort the ticket about {{ product }} into one queue:\n+Sort the ticket" in found.text
    assert diff_prompts(find_version(workspace, "triage@1"), find_version(workspace, "triage@1")).fields == ()


def test_each_thing_names_the_prompts_and_the_versions_that_use_it(workspace: Workspace) -> None:
    found = {(use.kind, use.name): (use.prompts, use.versions) for use in used_by(workspace)}
    serving = ("triage/1 (champion)", "triage/2 (challenger)")
    assert found == {
        ("endpoint", "local"): (("triage",), serving),
        ("model", "local/classifier"): (("triage",), serving),
        ("eval_set", "tickets"): (("triage",), ()),
        ("evaluator", "exact"): (("triage",), ()),
        ("evaluator", "json_schema"): (("triage",), ()),
    }
    assert [use.name for use in used_by(workspace, "tickets")] == ["tickets"]
    assert len(used_by(workspace, "triage")) == 5
    with pytest.raises(UsageError, match=r"is named 'ticket'. Did you mean 'tickets'\?"):
        used_by(workspace, "ticket")


def test_the_verb_shows_all_of_it(workspace: Workspace) -> None:
    folder = str(workspace.project.folder)
    assert "champion 1, challenger 2" in typed("prompts", "-p", folder).stdout
    assert "\n# system\n" in typed("prompts", "show", "triage@1", "-p", folder).stdout
    assert "differ in: messages, sections" in typed("prompts", "diff", "-p", folder).stdout
    assert "triage@1 and triage@2 differ" in typed("prompts", "diff", "triage@1", "triage@2", "-p", folder).stdout
    assert "local/classifier" in typed("prompts", "used-by", "local/classifier", "-p", folder).stdout
    shown = json.loads(typed("prompts", "show", "triage@champion", "--json", "-p", folder).stdout)
    assert (shown["name"], shown["roles"]) == ("triage@1", ["champion"])
