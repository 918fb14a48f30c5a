"""The features of what serves, and of what a rollback restores, follow their tables whatever definitions.py says."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from trimtab.app.gateway.project_control import ProjectControl
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.doctor import examine
from trimtab.app.rollout.in_service import in_service, stale_views
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import ingesting, pipeline
from trimtab.app.stages.freshness import EVERY, FeatureRefresher, bring_up_to_date, materialise
from trimtab.cli.rollout import app as rollout_verbs
from trimtab.clock import ManualClock, to_micros
from trimtab.definitions.views import FeatureView
from trimtab.errors import StageError
from trimtab.features.packing import nothing
from trimtab.features.point_in_time import view_values
from trimtab.features.value_types import encode
from trimtab.records.training import Bundle
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

DAY = datetime(2024, 1, 1, tzinfo=UTC)
DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "data", timestamp="at", known_at="known")
shop = tt.Entity("shop")
speed = tt.FeatureView("speed", shop, orders, [FEATURES])
late = tt.Model("m", task="binary", examples=orders, label="late", features=[speed])
"""
OLD, NEW = "tt.count('5h'), tt.mean('late', '1d')", "tt.count('2h')"


def define(folder: Path, features: str) -> None:
    (folder / "definitions.py").write_text(DEFINITIONS.replace("FEATURES", features))


def add_rows(folder: Path, first: int, last: int) -> None:
    """Write a file of one row an hour, known half an hour later."""
    hours = [DAY + timedelta(hours=n) for n in range(first, last)]
    known = [at + timedelta(minutes=30) for at in hours]
    (folder / "data").mkdir(exist_ok=True)
    rows = {"at": hours, "known": known, "shop": "a", "late": [float(n % 2) for n in range(first, last)]}
    pl.DataFrame(rows).write_parquet(folder / "data" / f"{first:05}.parquet")


def opened(folder: Path, hour: float) -> Workspace:
    """Open the project as a process that is started at an hour would."""
    return open_workspace(folder, clock=ManualClock(DAY + timedelta(hours=hour)))


def register(ws: Workspace, version: int) -> Bundle:
    views = tuple(view.version_id for view in ws.model("m").views)
    spec = plain_spec("m", ["x"], views=views)
    return register_bundle(ws.metadata, ws.artifacts, lookup_graph([0.1]), spec, version=version, created_at=ws.now())


def deploy(ws: Workspace, version: int, role: str = "champion") -> None:
    bundle = register(ws, version)
    open_rollouts(ws, "m").deploy(bundle, cause=f"v{version}", reason="a test", by="tests", role=role)  # type: ignore[arg-type]


def served(ws: Workspace, view: FeatureView) -> list[float]:
    (found,) = ws.online.read([(ws.online.prefix(view.version_id), encode(("a",)))], to_micros(ws.now()))
    return list(np.frombuffer(nothing(view) if found is None else found, dtype="<f8"))


def true_values(ws: Workspace, view: FeatureView) -> list[float]:
    at = np.array([to_micros(ws.now())])
    return list(view_values(view, ws.tables.scan("orders"), pl.DataFrame({"shop": ["a"]}), at).row(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose champion serves by the old view; then definitions.py changes, and rows come in."""
    (tmp_path / "trimtab.yaml").write_text("project: p\n")
    define(tmp_path, OLD)
    add_rows(tmp_path, 0, 10)
    ws = opened(tmp_path, 10)
    ingesting.ingest(ws)
    materialise(ws, ws.model("m"))
    deploy(ws, 1)
    return tmp_path


def old_view(folder: Path) -> FeatureView:
    text = (folder / "definitions.py").read_text()
    define(folder, OLD)
    view = open_workspace(folder).model("m").views[0]
    (folder / "definitions.py").write_text(text)
    return view


def change_and_ingest(folder: Path, hour: int = 20) -> Workspace:
    define(folder, NEW)
    add_rows(folder, 10, hour)
    ws = opened(folder, hour)
    ingesting.ingest(ws)
    return ws


def test_the_features_verb_refreshes_the_view_of_an_old_champion(folder: Path) -> None:
    ws, view = change_and_ingest(folder), old_view(folder)
    assert served(ws, view) != true_values(ws, view)
    written = materialise(ws, ws.model("m"))
    assert set(written) == {ws.model("m").views[0].version_id}
    assert served(ws, view) == true_values(ws, view) == [4.0, 0.5]


@pytest.mark.parametrize("role", ["challenger", "shadow", "restored by a rollback"])
def test_every_bundle_of_the_revision_and_what_a_rollback_restores_is_refreshed(folder: Path, role: str) -> None:
    # given a newer bundle beside the old champion, or in its place
    define(folder, NEW)
    ws = opened(folder, 11)
    materialise(ws, ws.model("m"))
    deploy(ws, 2, "champion" if role.startswith("restored") else role)
    assert {bundle.id for bundle in in_service(ws, "m")} == {"m/1", "m/2"}
    # when rows come in and a loop of a new process looks
    define(folder, "tt.count('3h')")
    add_rows(folder, 10, 20)
    ws = opened(folder, 20)
    ingesting.ingest(ws)
    FeatureRefresher(ws).step()
    # then both serve what the tables say
    for features in (OLD, NEW):
        define(folder, features)
        view = open_workspace(folder).model("m").views[0]
        assert served(ws, view) == true_values(ws, view)
    assert stale_views(ws, "m") == []


def test_a_running_loop_follows_new_rows_and_rests_between_looks(folder: Path) -> None:
    ws, view = change_and_ingest(folder), old_view(folder)
    keeping = FeatureRefresher(ws)
    keeping.step()
    assert served(ws, view) == true_values(ws, view)
    add_rows(folder, 20, 30)
    ws.clock.sleep(1)
    ingesting.ingest(ws)
    keeping.step()
    assert stale_views(ws, "m") != []  # it rests
    ws.clock.sleep(EVERY.total_seconds())
    keeping.step()
    assert stale_views(ws, "m") == []


def test_rows_that_become_known_later_are_taken_in_though_no_file_has_come(folder: Path) -> None:
    # given rows that were taken in before they became known
    add_rows(folder, 10, 20)
    ws = opened(folder, 12)
    ingesting.ingest(ws)
    view = ws.model("m").views[0]
    materialise(ws, ws.model("m"))
    # when their moment has come
    ws = opened(folder, 18)
    assert served(ws, view) != true_values(ws, view)
    assert bring_up_to_date(ws, view) > 0
    # then they count, and when none is left nothing is done
    assert served(ws, view) == true_values(ws, view)
    assert bring_up_to_date(ws, view) == 0


def test_a_table_that_was_read_again_leaves_no_value_of_before(tmp_path: Path) -> None:
    # given values of times that were taken as UTC
    (tmp_path / "trimtab.yaml").write_text("project: p\n")
    define(tmp_path, OLD)
    (tmp_path / "data").mkdir()
    lines = [f"2024-01-01 {hour:02}:00,2024-01-01 {hour:02}:30,a,{hour % 2}" for hour in range(4, 10)]
    (tmp_path / "data" / "orders.csv").write_text("\n".join(["at,known,shop,late", *lines]) + "\n")
    ws = opened(tmp_path, 12)
    ingesting.ingest(ws)
    materialise(ws, ws.model("m"))
    deploy(ws, 1)
    view = ws.model("m").views[0]
    # when definitions.py names their zone, and the files are read again
    text = (tmp_path / "definitions.py").read_text()
    (tmp_path / "definitions.py").write_text(
        text.replace('known_at="known"', 'known_at="known", time_zone="Asia/Tokyo"')
    )
    ws = opened(tmp_path, 13)
    assert ingesting.rebuild(ws, "orders").skipped is None  # other values, though no other type
    FeatureRefresher(ws).step()
    # then every moment shows what the table says now
    for hour in np.arange(-8, 13, 0.5):
        now = opened(tmp_path, hour)
        assert served(now, view)[0] == true_values(now, view)[0], hour


def test_what_lags_is_told_by_doctor_and_when_a_gateway_starts(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    ws = change_and_ingest(folder)
    (text,) = stale_views(ws, "m")
    assert text.startswith("bundle m/1: values of view speed@")
    assert text.endswith("are of 2024-01-01 10:00 UTC, older than table orders@1")
    findings = [finding for finding in examine(folder, "local") if finding.subject == "features m"]
    assert [(finding.verdict, finding.text) for finding in findings] == [("warn", text)]
    with caplog.at_level(logging.WARNING):
        assert ProjectControl(ws).orders()
    assert f"{text}; run: trimtab features" in caplog.text
    materialise(ws, ws.model("m"))
    assert not [finding for finding in examine(folder, "local") if finding.subject == "features m"]


def test_a_bundle_whose_source_is_gone_is_told_once_and_not_deployed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = DEFINITIONS.replace("FEATURES", NEW).replace('"orders", "data"', '"sales", "data"')
    (folder / "definitions.py").write_text(text)
    ws = opened(folder, 12)
    keeping = FeatureRefresher(ws)
    for _ in range(2):
        keeping.step()
        ws.clock.sleep(EVERY.total_seconds())
    assert caplog.text.count("definitions.py has no source 'orders' any more") == 1
    assert "which definitions.py has no more" in stale_views(ws, "m")[0]
    bundle = ws.metadata.get(Bundle, "m/1")
    with pytest.raises(StageError, match=r"bundle m/1 needs the view speed@.* no source 'orders' any more"):
        pipeline.deploy(ws, bundle, cause="again", reason="", by="tests")
    done = CliRunner().invoke(rollout_verbs, ["deploy", "-p", str(folder), "--version", "1"])
    assert isinstance(done.exception, StageError)


def test_restoring_a_revision_by_its_number_brings_its_features_up_to_date(folder: Path) -> None:
    # given versions 1 to 3 in turn, the first of which no plain rollback would restore
    define(folder, NEW)
    ws = opened(folder, 11)
    materialise(ws, ws.model("m"))
    deploy(ws, 2)
    deploy(ws, 3)
    ws, view = change_and_ingest(folder), old_view(folder)
    materialise(ws, ws.model("m"))
    assert served(ws, view) != true_values(ws, view)
    done = CliRunner().invoke(rollout_verbs, ["rollback", "-p", str(folder), "--to", "1"])
    assert done.exit_code == 0, done.output
    assert served(ws, view) == true_values(ws, view)


def test_the_gateway_starts_without_data_libraries() -> None:
    names = ("polars", "pandas", "sklearn", "deltalake", "mlflow")
    code = "import sys, trimtab.cli.processes.serve, trimtab.app.gateway.worker_program; "
    code += f"print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_schedule_refreshes_the_views_of_definitions_too(folder: Path) -> None:
    ws = change_and_ingest(folder)
    FeatureRefresher(ws).step()
    new = ws.model("m").views[0]
    assert ws.online.watermark(new.version_id) is None
    (folder / "trimtab.yaml").write_text("project: p\nfeatures: { materialize: { every: 1h } }\n")
    ws = opened(folder, 20)
    keeping = FeatureRefresher(ws)
    keeping.step()
    assert served(ws, new) == true_values(ws, new)
    clock = ws.clock
    assert isinstance(clock, ManualClock)
    for minutes, until in ((59, 20), (61, 21 + 1 / 60)):
        clock.move_to(DAY + timedelta(hours=20, minutes=minutes))
        keeping.step()
        assert ws.online.watermark(new.version_id) == to_micros(DAY + timedelta(hours=until))


def test_versions_that_nothing_names_for_an_hour_are_removed_and_a_rollback_s_stay(folder: Path) -> None:
    old = old_view(folder)
    ws = change_and_ingest(folder)
    materialise(ws, ws.model("m"))
    deploy(ws, 2)  # the old champion is what a rollback restores
    ws.online.write("gone@1", [(b"a", 1, b"x")], until=1)
    clock = ws.clock
    assert isinstance(clock, ManualClock)
    keeping = FeatureRefresher(ws)
    for hours, there in ((0, True), (1.1, True), (2.2, False)):
        clock.move_to(DAY + timedelta(hours=20 + hours))
        keeping.step()
        assert ("gone@1" in ws.online.views()) is there
        assert {old.version_id, ws.model("m").views[0].version_id} <= set(ws.online.views())


def test_entries_older_than_the_policy_keeps_are_removed_but_in_a_replay(folder: Path) -> None:
    (folder / "trimtab.yaml").write_text("project: p\nfeatures: { keep: 2h }\n")
    ws = opened(folder, 10)
    (view,) = ws.model("m").views
    clock = ws.clock
    assert isinstance(clock, ManualClock)

    def at(hour: float) -> bool:
        (found,) = ws.online.read(
            [(ws.online.prefix(view.version_id), encode(("a",)))], to_micros(DAY + timedelta(hours=hour))
        )
        return found is not None

    for replaying, kept in ((True, True), (False, False)):
        keeping = FeatureRefresher(ws, lambda replaying=replaying: replaying)  # type: ignore[misc]
        clock.move_to(clock.now() + timedelta(hours=1.5))
        keeping.step()
        assert at(3) is kept
        assert at(11.5)
