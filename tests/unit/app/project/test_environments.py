"""Environments of a project: each has stores of its own, what earlier releases shared is not left behind in silence."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml

from integration.gateway_project import DEFINITIONS
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.errors import PolicyError, StageError
from trimtab.policy.environments import Environment
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

NEW = {
    "staging": {},
    "production": {"metadata": "sqlite:///p.db"},
    "taking": {"from": "staging", "predictions": "log"},
}


def write(folder: Path, **sections: object) -> Path:
    """Write a project with these sections of the policy; return its folder."""
    folder.mkdir(exist_ok=True)
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(yaml.safe_dump({"project": "p", **sections}))
    return folder


def register(workspace: Workspace) -> None:
    """Register one bundle."""
    spec = plain_spec("delay", ["row"])
    register_bundle(
        workspace.metadata, workspace.artifacts, lookup_graph([0.1]), spec, version=1, created_at=workspace.now()
    )


def places(workspace: Workspace) -> set[str]:
    """Return all places where an environment keeps something."""
    return {
        str(workspace.root),
        str(workspace.run_folder),
        workspace.tracking_uri,
        workspace.workflows_url,
        *(str(getattr(workspace.environment, kind)) for kind in ("metadata", "predictions")),
    } - {"None"}


def test_environments_have_nothing_in_common(tmp_path: Path) -> None:
    folder = write(tmp_path, environments={"staging": {}, "production": {"metadata": "sqlite:///p.db"}})
    opened = [open_workspace(folder, name) for name in ("local", "staging", "production")]
    local, staging, production = opened

    assert [each.name for each in opened] == ["local", "staging", "production"]
    assert local.root == folder / ".trimtab"
    assert staging.root == folder / ".trimtab" / "environments" / "staging"
    assert places(local) & places(staging) == places(staging) & places(production) == set()
    register(staging)
    register(production)
    assert local.metadata.positions()["bundle"] == 0
    assert (folder / "p.db").is_file(), "a relative path starts at the project folder"
    assert (folder / ".trimtab" / ".gitignore").is_file()


def test_a_child_process_that_gets_the_environment_as_json_opens_the_same_stores(tmp_path: Path) -> None:
    folder = write(tmp_path, environments={"staging": {"tables": "tables"}})
    there = open_workspace(folder, "staging")
    child = Workspace(there.project, Environment.model_validate_json(there.environment.model_dump_json()))

    assert (child.root, child.name, child.tracking_uri) == (there.root, "staging", there.tracking_uri)
    assert child.environment.tables == str(folder / "tables")


def test_keys_of_the_gateway_can_differ(tmp_path: Path) -> None:
    environments = {"production": {"serving": {"port": 9000}, "console": {"authentication": "tokens"}}}
    folder = write(tmp_path, serving={"workers": 2}, environments=environments)

    local, production = (open_workspace(folder, name).project.policy for name in ("local", "production"))

    assert (local.serving.port, production.serving.port) == (8080, 9000)
    assert (local.console.authentication, production.console.authentication) == ("none", "tokens")
    assert production.serving.workers == 2


def test_a_wrong_key_is_told_with_its_line(tmp_path: Path) -> None:
    folder = write(tmp_path, environments={"production": {"serving": {"prot": 9000}}})

    with pytest.raises(PolicyError, match=r":4: environments\.production\.serving\.prot: unknown key .*'port'"):
        open_workspace(folder)


@pytest.mark.parametrize("name", ["..", "a/b", "", "-x"])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, environments={name: {}})

    with pytest.raises(PolicyError, match="is no name for an environment"):
        open_workspace(folder)


def test_an_environment_that_had_stores_with_local_is_not_opened_without_them(tmp_path: Path) -> None:
    register(open_workspace(write(tmp_path)))
    folder = write(tmp_path, environments={"production": {"predictions": "log"}})

    with pytest.raises(
        PolicyError, match=r"(?s):2: environments\.production leaves out metadata, artifacts.*add f"
    ) as told:
        open_workspace(folder, "production")
    assert "folder: .trimtab. " in str(told.value)
    assert not (folder / ".trimtab" / "environments").exists()

    for chosen, bundles in ((".trimtab", 1), (".trimtab/environments/production", 0)):
        write(tmp_path, environments={"production": {"predictions": "log", "folder": chosen}})
        assert open_workspace(folder, "production").metadata.positions()["bundle"] == bundles


def test_a_new_environment_begins_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    register(open_workspace(write(tmp_path)))
    folder = write(tmp_path, environments=NEW)

    with caplog.at_level(logging.WARNING):
        for name in NEW:
            open_workspace(folder, name)

    assert caplog.records == []


def test_records_that_a_guarded_environment_has_are_not_left_behind(tmp_path: Path) -> None:
    register(open_workspace(write(tmp_path)))
    register(open_workspace(write(tmp_path, environments={"old": {"metadata": "sqlite:///p.db"}}), "old"))
    folder = write(tmp_path, environments={"production": {"metadata": "sqlite:///p.db", "approvals": 1}})

    with pytest.raises(PolicyError, match=r"keep what it has used, copy them into \.trimtab/environments/production\."):
        open_workspace(folder, "production")


def test_a_password_in_a_url_stands_in_it_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a policy that names a variable in the URL of the records
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    policy = {"project": "p", "environments": {"local": {"metadata": "sqlite:///.trimtab/${BOOK}.db"}}}
    (tmp_path / "trimtab.yaml").write_text(yaml.safe_dump(policy))
    monkeypatch.setenv("BOOK", "records")
    workspace = open_workspace(tmp_path)
    # then the store is where the value says, the workflows too, and the environment itself holds the name alone
    workspace.metadata.close()
    assert (tmp_path / ".trimtab" / "records.db").exists()
    assert workspace.workflows_url == "sqlite:///.trimtab/records.db"
    assert workspace.environment.metadata == "sqlite:///.trimtab/${BOOK}.db"
    # and without the variable its name is told
    monkeypatch.delenv("BOOK")
    with pytest.raises(StageError, match="the URL of the metadata store: the environment variable BOOK is not set"):
        open_workspace(tmp_path).metadata  # noqa: B018  # opens it
