"""`trimtab features` and its actions: what they print, and which changes of views they refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.cli import rollout, stages
from trimtab.cli.features import building
from trimtab.errors import StageError, UsageError
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

DAY = datetime(2024, 1, 1, tzinfo=UTC)
DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "data", timestamp="at", known_at="known")
shop = tt.Entity("shop")
speed = tt.FeatureView(
    "speed", shop, orders, [FEATURES],
    description="how late a shop is", owner="logistics", tags=["delays"],
)
calm = tt.FeatureView("calm", shop, speed, tt.max("count_5h", "1d"), deprecated="use speed")
service = tt.FeatureService("lateness", features=[speed[["count_5h"]]], owner="web")
late = tt.Model("m", task="binary", examples=orders, label="late", features=[service, calm])
"""
OLD = "tt.count('5h', where='late > 0', name='count_5h'), tt.mean('late', '1d')"
NEW = "tt.count('4h', where='late > 0', name='count_5h'), tt.std('late', '1d')"


def define(folder: Path, features: str = OLD) -> None:
    (folder / "definitions.py").write_text(DEFINITIONS.replace("FEATURES", features))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with rows of 60 hours, whose champion serves by the old view."""
    (tmp_path / "trimtab.yaml").write_text("project: p\ntraining: { min_examples: 10 }\n")
    define(tmp_path)
    hours = [DAY + timedelta(hours=n) for n in range(60)]
    known = [at + timedelta(minutes=30) for at in hours]
    rows = {"at": hours, "known": known, "shop": "a", "late": [float(n % 2) for n in range(60)]}
    (tmp_path / "data").mkdir()
    pl.DataFrame(rows).write_parquet(tmp_path / "data" / "1.parquet")
    assert CliRunner().invoke(stages.app, ["ingest", "-p", str(tmp_path)]).exit_code == 0
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(building.app, ["features", *arguments, "-p", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def printed(folder: Path, *arguments: str) -> Any:
    return json.loads(run(folder, *arguments, "--json"))


def serve(folder: Path) -> Workspace:
    ws = open_workspace(folder)
    views = tuple(view.version_id for view in ws.model("m").views)
    spec = plain_spec("m", ["x"], views=views)
    graph = lookup_graph([0.1])
    bundle = register_bundle(ws.metadata, ws.artifacts, graph, spec, version=1, created_at=ws.now())
    open_rollouts(ws, "m").deploy(bundle, cause="v1", reason="a test", by="tests", role="champion")
    return ws


def test_without_an_action_the_training_set_and_values_are_built(folder: Path) -> None:
    told = run(folder)
    assert "2 features of 2 views; training set" in told
    assert "view 'calm' is deprecated: use speed" in told
    assert [row["fresh_until"] is not None for row in printed(folder, "list")] == [True, True]


def test_views_are_listed_with_owners_users_and_freshness(folder: Path) -> None:
    calm, speed = printed(folder, "list")
    assert (calm["view"], calm["over"], calm["deprecated"], calm["models"]) == ("calm", "speed", "use speed", ["m"])
    assert (speed["owner"], speed["tags"], speed["services"]) == ("logistics", ["delays"], ["lateness"])
    assert (speed["features"], speed["fresh_until"]) == (2, None)
    text = run(folder, "list")
    assert "calm (deprecated)" in text
    assert "never computed" in text


def test_a_view_is_shown_with_definitions_statistics_versions_and_lineage(folder: Path) -> None:
    run(folder)
    serve(folder)
    found = printed(folder, "show", "speed")
    first = found["features"][0]
    assert first["definition"] == "count over 5h where late > 0"
    assert first["stats"]["most"] == 2.0
    assert found["features"][1]["stats"] is None  # the model does not take it
    assert (found["versions"][0]["bundles"], found["versions"][0]["in_service"]) == (["m/1"], ["m/1"])
    assert found["table"].startswith("orders@")
    assert found["rows_until"] == "2024-01-03T11:00:00Z"
    told = run(folder, "show", "speed")
    assert "how late a shop is" in told
    assert "(defined now)" in told
    with pytest.raises(UsageError, match=r"no view 'sped'. Did you mean 'speed'\?"):
        run(folder, "show", "sped")


def test_features_are_found_by_words_of_any_of_their_texts(folder: Path) -> None:
    names = [each["name"] for each in printed(folder, "search", "LATE mean")]
    assert names == ["speed__late_mean_1d"]
    assert [each["kind"] for each in printed(folder, "search", "web")] == ["service"]
    assert "nothing has these words" in run(folder, "search", "nonsense")


def test_a_changed_view_is_compared_with_what_serves_and_both_are_kept(folder: Path) -> None:
    run(folder)
    ws = serve(folder)
    old = ws.model("m").views[0].version_id
    assert f"speed: as {old}" in run(folder, "diff", "speed")
    define(folder, NEW)
    found = printed(folder, "diff", "speed")[0]
    assert (found["against"], found["in_service"], found["lost"]) == (old, ["m/1"], None)
    assert [(each["feature"], each["change"]) for each in found["features"]] == [
        ("count_5h", "changed"),
        ("late_mean_1d", "removed"),
        ("late_std_1d", "added"),
    ]
    told = run(folder, "diff", "--against", "m/1")
    assert "breaking" in told
    assert "goes on with its version, which is kept up to date" in told
    assert f"bundle m/1 in service goes on with {old}" in run(folder)
    assert printed(folder, "diff", "speed", "--against", old.partition("@")[2][:4])[0]["against"] == old
    with pytest.raises(UsageError, match=r"there is no bundle 'm/2'\. Did you mean 'm/1'"):
        run(folder, "diff", "--against", "m/2")
    with pytest.raises(UsageError, match="there is no version 'ffff' of view 'speed'"):
        run(folder, "diff", "speed", "--against", "ffff")


def test_a_change_after_which_a_bundle_in_service_loses_its_values_is_refused(folder: Path) -> None:
    run(folder)
    ws = serve(folder)
    (old, _) = (view.version_id for view in ws.model("m").views)
    text = (folder / "definitions.py").read_text()
    (folder / "definitions.py").write_text(text.replace('"orders"', '"deliveries"'))
    assert CliRunner().invoke(stages.app, ["ingest", "-p", str(folder)]).exit_code == 0
    refused = f"bundle m/1 is in service and needs the view {old}, .* definitions.py has no source 'orders' any more"
    for app, verb in ((building.app, "features"), (stages.app, "run"), (rollout.app, "deploy")):
        with pytest.raises(StageError, match=refused):
            CliRunner().invoke(app, [verb, "-p", str(folder)], catch_exceptions=False)
    assert "training set" in run(folder, "--force")


def test_values_are_computed_anew_and_old_ones_removed(folder: Path) -> None:
    run(folder)
    done = printed(folder, "backfill", "speed", "--since", "2024-01-02T00:00Z")
    assert done["changed"] == 0
    assert done["expired"] > 10
    again = printed(folder, "backfill", "speed")
    assert again["changed"] == done["expired"]
    with pytest.raises(
        UsageError, match=r"values of view 'speed' are complete until 20.*; expected --until at or after"
    ):
        run(folder, "backfill", "speed", "--until", "2024-01-02")
    with pytest.raises(UsageError, match="lies after --until"):
        run(folder, "backfill", "speed", "--since", "2024-01-02", "--until", "2024-01-01")


def test_options_before_an_action_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--json stands before the action; write: trimtab features list --json"):
        CliRunner().invoke(building.app, ["features", "--json", "list"], catch_exceptions=False)
