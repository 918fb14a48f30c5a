"""`trimtab ledger` as a user types it: verify, a change that is found, doctor and status, and its acceptance."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from integration.gateway_project import GatewayProject
from kit.commands import typed


def trimtab(project: GatewayProject, *arguments: str) -> subprocess.CompletedProcess[str]:
    return typed(*arguments, "-p", project.folder, check=False)


def test_a_changed_record_is_found_told_and_accepted(tmp_path: Path) -> None:
    # given a project in which a model was deployed and a decision round was made
    project = GatewayProject(tmp_path / "project")
    project.deploy(1)
    assert trimtab(project, "decide").returncode == 0
    head = json.loads((project.folder / ".trimtab" / "ledger.head").read_text())
    verified = trimtab(project, "ledger", "verify", "--expect", head["hash"])
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout == f"{head['number']} entries hold, head {head['hash']}\n"
    # when somebody changes what serves
    with closing(sqlite3.connect(project.folder / ".trimtab" / "metadata.db")) as connection, connection:
        connection.execute("UPDATE trimtab_revision SET body = replace(body, 'a test', 'an order')")
    # then the verb names the record, and doctor and status tell
    broken = "revision 'delay#1' was changed"
    verified = trimtab(project, "ledger", "verify")
    assert (verified.returncode, broken in verified.stdout) == (1, True)
    assert broken in trimtab(project, "doctor").stdout
    assert broken in trimtab(project, "status").stdout
    # and once a person has accepted it with a reason, the ledger holds again
    assert trimtab(project, "ledger", "accept").returncode == 2
    assert trimtab(project, "ledger", "accept", "--reason", "a repair by hand").returncode == 0
    verified = trimtab(project, "ledger")
    assert verified.returncode == 0
    assert "accepted: 1 break" in verified.stdout
    assert broken not in trimtab(project, "status").stdout
    # while a head that was never written is missed
    missed = trimtab(project, "ledger", "verify", "--expect", "0" * 64)
    assert (missed.returncode, missed.stdout.count("no entry of the ledger has the hash")) == (1, 1)


def test_the_policy_in_force_is_in_the_ledger_once_for_each_text(tmp_path: Path) -> None:
    project = GatewayProject(tmp_path / "project")
    for _ in range(2):
        assert trimtab(project, "decide").returncode == 0
    policy = project.folder / "trimtab.yaml"
    policy.write_text(policy.read_text() + "# a word\n")
    assert trimtab(project, "decide").returncode == 0
    found = json.loads(trimtab(project, "status", "--json").stdout)
    assert found["records"]["policy_version"]["count"] == 2
    assert found["records"]["policy_version"]["latest"]["text"].endswith("# a word\n")
    assert found["ledger"]["head"]["number"] == 2
