"""The copy of a project that contract tests run in."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.contract_projects import change, make_loans
from trimtab.app.delivery.scratch_project import of_one_model, scratch_project
from trimtab.app.project.project import open_project
from trimtab.data.source_files import find_files
from trimtab.definitions.sources import FileSource


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_sources_beside_and_above_the_project_are_found(tmp_path: Path, depth: int) -> None:
    folder = make_loans(tmp_path / "team" / "projects" / "loans")
    above = [folder, *folder.parents][depth]
    (folder / "rates.csv").rename(above / "rates-of-all.csv")
    change(folder, '"rates.csv"', f'"{"../" * depth}rates-of-all.csv"')
    with scratch_project(open_project(folder)) as workspace:
        scratch = workspace.project.folder
        assert scratch != folder
        rates = workspace.project.definitions.sources["rates"]
        assert isinstance(rates, FileSource)
        (found,) = find_files(rates, scratch)
        with found.local() as path:
            assert path.read_text() == (above / "rates-of-all.csv").read_text()
    assert not scratch.exists()
    assert (folder / "loans" / "part-0.parquet").exists(), "links are removed, not what they lead to"


def test_the_policy_is_one_for_few_rows_on_this_machine(tmp_path: Path) -> None:
    folder = make_loans(tmp_path / "loans")
    before = (folder / "trimtab.yaml").read_text()
    with scratch_project(open_project(folder)) as workspace:
        policy = workspace.project.policy
        assert (policy.training.on, policy.training.min_examples, policy.training.history) == ("process", 20, None)
        assert policy.gates.performance is None
        assert policy.gates.accuracy is not None
        assert policy.gates.accuracy.resamples == 100, "what a policy says of gates stays"
        assert policy.checks.tables["loans"].volume is None
        assert policy.serving.authentication == "none"
        of_one = of_one_model(workspace, history=7)
        assert of_one.project.policy.training.history == 7
        assert of_one.metadata is workspace.metadata
    assert (folder / "trimtab.yaml").read_text() == before
    assert not (folder / ".trimtab").exists()
