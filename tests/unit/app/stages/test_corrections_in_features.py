"""Corrected rows of a source with a key: training sets of the past stay, online values follow, both agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting
from trimtab.app.stages.freshness import bring_up_to_date
from trimtab.clock import ManualClock, to_micros
from trimtab.features.online_plan import OnlinePlan
from trimtab.features.training_frames import training_frame

DEFINITIONS = """
import trimtab as tt

visits = tt.FileSource("visits", "visits", timestamp="at"KNOWN, key=["visit"])
examples = tt.FileSource("examples", "examples.csv", timestamp="at")
view = tt.FeatureView("v", tt.Entity("user"), visits, [tt.sum("spent", "3d"), tt.count("3d"), tt.last("spent")])
m = tt.Model("m", task="regression", examples=examples, label="y", features=[view])
"""
POLICY = "project: visits\ntraining: { min_examples: 4 }\nrollout: { promote_when: { metric: rmse } }\n"
START = datetime(2024, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(day(5))


def project(folder: Path, clock: ManualClock, known: str = ', known_at="known"') -> Workspace:
    (folder / "visits").mkdir()
    (folder / "definitions.py").write_text(DEFINITIONS.replace("KNOWN", known))
    (folder / "trimtab.yaml").write_text(POLICY)
    rows = [f"u,{day(n / 2).isoformat()},{n}" for n in range(36)]
    (folder / "examples.csv").write_text("\n".join(["user,at,y", *rows]) + "\n")
    visits = [f"{n},u,{day(n).isoformat()},{day(n + 0.25).isoformat()},{10**n}" for n in range(5)]
    write(folder, "1.csv", *visits)
    ws = open_workspace(folder, clock=clock)
    ingesting.ingest(ws)
    return ws


def write(folder: Path, name: str, *rows: str) -> None:
    (folder / "visits" / name).write_text("\n".join(["visit,user,at,known,spent", *rows]) + "\n")


def frame(ws: Workspace, as_of: datetime) -> pl.DataFrame:
    return training_frame(ws.model("m"), ws.scan(as_of=as_of), as_of=as_of)


def online(ws: Workspace) -> list[list[float]]:
    """Return the online features of user u twice a day from the first day to the twentieth."""
    (view,) = ws.model("m").views
    bring_up_to_date(ws, view)
    plan = OnlinePlan(ws.model("m"), ws.online, {"user": "text"})
    at = [to_micros(day(n / 2)) for n in range(40)]
    found: list[list[float]] = plan.vectors({"user": ["u"] * 40}, at).tolist()
    return [[None if x != x else x for x in row] for row in found]  # type: ignore[misc]


def test_a_training_set_of_the_past_does_not_see_later_corrections(tmp_path: Path, clock: ManualClock) -> None:
    ws = project(tmp_path, clock)
    before, full = frame(ws, day(6)), frame(ws, day(9))
    write(tmp_path, "2.csv", f"1,u,{day(1).isoformat()},{day(7).isoformat()},999")
    ingesting.ingest(ws)
    assert frame(ws, day(6)).equals(before)
    after = frame(ws, day(9))
    assert not after.equals(full)
    # the first value is withdrawn, and before it was known the correction is not seen either
    row = after.filter(pl.col("timestamp") == day(3.5))["v__spent_sum_3d"].item()
    assert row == 100 + 1000


@pytest.mark.parametrize("known", [', known_at="known"', ""])
def test_online_values_follow_a_correction_and_agree_with_a_store_made_afresh(
    tmp_path: Path, clock: ManualClock, known: str
) -> None:
    (tmp_path / "one").mkdir()
    ws = project(tmp_path / "one", clock, known)
    earlier = online(ws)
    clock.move_to(day(5.5))
    write(tmp_path / "one", "2.csv", f"3,u,{day(3).isoformat()},{day(5.25).isoformat()},7")
    write(tmp_path / "one", "3.csv", f"9,u,{day(5).isoformat()},{day(5.25).isoformat()},5")
    ingesting.ingest(ws)
    found = online(ws)
    assert earlier[11] == [1_000 + 10_000, 2, 10_000]
    assert found[11] == [7 + 10_000 + 5, 3, 5]
    assert found[14] == [5, 1, 5]
    (tmp_path / "two").mkdir()
    fresh = project(tmp_path / "two", clock, known)
    for name in ("2.csv", "3.csv"):
        (tmp_path / "two" / "visits" / name).write_bytes((tmp_path / "one" / "visits" / name).read_bytes())
    ingesting.ingest(fresh)
    made = online(fresh)
    assert found == made


@pytest.mark.parametrize("learned", [5.25, 4.5])  # after the watermark, and before it, in a file that comes late
@pytest.mark.parametrize("known", [', known_at="known"', ""])
def test_a_row_that_a_correction_gives_to_another_entity_is_gone_from_the_first(
    tmp_path: Path, clock: ManualClock, known: str, learned: float
) -> None:
    ws = project(tmp_path, clock, known)
    online(ws)
    clock.move_to(day(5.5))
    write(tmp_path, "2.csv", f"4,other,{day(4).isoformat()},{day(learned).isoformat()},10000")
    ingesting.ingest(ws)
    for _ in range(2):
        assert online(ws)[11] == [1_000, 1, 1_000]
    written = bring_up_to_date(ws, ws.model("m").views[0])
    assert written == 0
