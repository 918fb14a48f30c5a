"""What is shown of the features of a view."""

from __future__ import annotations

from kit.small_project import TwoRuns
from trimtab.app.reports.feature_catalog import FeatureStats, feature_stats
from trimtab.records.training import DatasetVersion


def test_statistics_show_no_values_of_personal_data(two_runs: TwoRuns) -> None:
    workspace, first, _ = two_runs
    dataset = workspace.metadata.get(DatasetVersion, first.dataset)
    rows = workspace.project.definitions.sources["rows"]
    object.__setattr__(rows, "pii", ("age",))
    try:
        found = feature_stats(workspace, dataset, ("amount", "age"))
    finally:
        object.__setattr__(rows, "pii", ())
    assert found["age"] == FeatureStats(null=0.0, hidden=True)
    assert found["amount"].least is not None
