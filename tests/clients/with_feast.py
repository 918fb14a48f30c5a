"""Compares with Feast, and answers its client: python -m clients.with_feast PYTHON, the Python that has feast.

Two Feast repositories are imported. Of `feast_drivers` the values are compared: Feast's own historical and online ones
with those of a project of Trimtab, whose gateway Feast's client asks as its remote online store. `feast_kinds` has one
of each kind of object; the unit tests convert what was recorded of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

import trimtab as tt
from kit.waiting import PATIENCE_S, wait_for
from trimtab import settings
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.definitions_file import load_definitions
from trimtab.app.project.workspace import open_workspace

HERE = Path(__file__).parent
CALLS = HERE / "feast_calls.py"
RECORDED = HERE.parent / "unit" / "app" / "project" / "feast_kinds.json"
POLICY = "project: drivers\nserving: { port: 0 }\n"
HOURS, DRIVERS, NAMES = 24 * 10, range(1001, 1006), ("ann", "bob", "Zoë")
STALE = 1005
"""A driver without rows in the last three days."""
LABELS = 400
OFFLINE = ("duckdb", "dask")
"""Feast's offline stores for files."""


def main(python: Path) -> int:
    """Import, compare, serve; return 1 when the clients fail."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        repository, project = folder / "drivers", folder / "project"
        shutil.copytree(HERE / "feast_drivers", repository)
        project.mkdir()
        labels = write_data(repository / "data")
        labels.write_parquet(folder / "labels.parquet")
        import_feast(python, repository, project / "definitions.py", left_out=True)
        (project / "trimtab.yaml").write_text(POLICY)
        trimtab(project, "ingest")
        for view in load_definitions(project).views:
            trimtab(project, "features", "backfill", view)
        text = (repository / "feature_store.yaml").read_text()
        for offline in OFFLINE:
            (repository / "feature_store.yaml").write_text(text.replace("type: duckdb", f"type: {offline}"))
            print(f"\n== Feast's own values, offline store {offline}", flush=True)
            subprocess.run([python, CALLS, "own", repository, folder], check=True)
            compare_historical(folder, repository, project, labels)
        print("\n== Feast's client asks the gateway", flush=True)
        ask(python, repository, folder, project)
        print("\n== a repository with one of each kind", flush=True)
        import_feast(python, HERE / "feast_kinds", folder / "kinds.py", left_out=True)
        check_recorded(python, folder)
    return 0


def write_data(folder: Path) -> pl.DataFrame:
    """Write the files of the repository, with times up to now; return labels at random times."""
    rng = np.random.default_rng(11)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = [(driver, now - timedelta(hours=h)) for driver in DRIVERS for h in range(HOURS) if driver != STALE or h > 72]
    hourly = pl.DataFrame(
        rows, schema={"driver_id": pl.Int64, "event_timestamp": pl.Datetime("us", "UTC")}, orient="row"
    )
    null = pl.Series(rng.random(len(rows)) < 0.05)
    hourly = hourly.with_columns(
        pl.when(~null).then(pl.Series(rng.random(len(rows), dtype=np.float32))).alias("conv_rate"),
        pl.Series("acc_rate", rng.random(len(rows), dtype=np.float32)),
        pl.Series("avg_daily_trips", rng.integers(0, 1000, len(rows))),
        pl.Series("licensed", rng.random(len(rows)) < 0.9),
        pl.lit(now).alias("created"),
    )
    folder.mkdir(exist_ok=True)
    hourly.sort("event_timestamp", "driver_id").write_parquet(folder / "driver_stats.parquet")
    times = [now - timedelta(days=float(days)) for days in np.sort(rng.random(60) * 20)[::-1]]
    pl.DataFrame(
        {
            "customer_id": rng.choice(NAMES, 60).tolist(),
            "event_timestamp": times,
            "segment": [None if rng.random() < 0.1 else str(rng.choice(["gold", "basic"])) for _ in times],
            "visits": rng.integers(0, 2**53, 60),
        }
    ).write_parquet(folder / "customers.parquet")
    pl.DataFrame(
        {
            "driver_id": rng.choice(DRIVERS, 60).tolist(),
            "customer_id": rng.choice(NAMES, 60).tolist(),
            "ridden_at": times,
            "km": rng.gamma(2.0, 5.0, 60),
            "city": rng.choice(["Graz", "Linz"], 60).tolist(),
        }
    ).write_parquet(folder / "rides.parquet")
    return pl.DataFrame(
        {
            "row": range(LABELS),
            "driver_id": rng.choice([*DRIVERS, 7], LABELS),
            "customer_id": rng.choice([*NAMES, "eve"], LABELS).tolist(),
            "event_timestamp": [now - timedelta(days=float(days)) for days in rng.random(LABELS) * 9],
        }
    )


def import_feast(python: Path, repository: Path, file: Path, *, left_out: bool) -> None:
    """Run `trimtab features import-feast`, and print what it prints and writes."""
    told = trimtab(
        None,
        "features",
        "import-feast",
        str(repository),
        "--python",
        str(python),
        "--into",
        str(file),
        code=int(left_out),
    )
    print(told + file.read_text(), flush=True)


def trimtab(project: Path | None, *arguments: str, code: int = 0) -> str:
    """Run a command; return what it prints."""
    command = [sys.executable, "-m", "trimtab.cli", *arguments, *(("--project", str(project)) if project else ())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def compare_historical(folder: Path, repository: Path, project: Path, labels: pl.DataFrame) -> None:
    """Compare Feast's training rows with those of the imported definitions, value by value."""
    views = load_definitions(project).views
    read = {name: pl.scan_parquet(project / view.source.path) for name, view in views.items()}
    joined = tt.point_in_time_join(labels, [(views[name], rows) for name, rows in read.items()], at="event_timestamp")
    feast = pl.read_parquet(folder / "historical.parquet").sort("row")
    names = [name for view in views.values() for name in view.feature_names]
    found = joined.filter(pl.col("row").is_in(feast["row"].implode()))
    for name in names:
        theirs, ours = feast[name], found[name]
        if ours.dtype.is_numeric():
            theirs, ours = theirs.cast(pl.Float64).fill_nan(None), ours.cast(pl.Float64).fill_nan(None)
        differ = (theirs.cast(ours.dtype).ne_missing(ours)).sum()
        assert differ == 0, f"{name}: {differ} of {len(ours)} values differ"
    known = {name: int(found[name].is_not_null().sum()) for name in names}
    print(
        f"historical: {feast.height} of {labels.height} labels, {len(names)} features: all values equal; known {known}"
    )


def ask(python: Path, repository: Path, folder: Path, project: Path) -> None:
    """Run the project's gateway, and let Feast's client ask it."""
    with (folder / "gateway.log").open("wb") as output:
        command = [sys.executable, "-m", "trimtab.cli", "serve", "--project", str(project)]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=settings.child_environment())
    run_folder = open_workspace(project).run_folder

    def url() -> str | None:
        assert process.poll() is None, (folder / "gateway.log").read_text()
        found = running_gateway(run_folder)
        return None if found is None else url_of(found)

    try:
        address = wait_for(url, "the gateway is ready")
        asked = subprocess.run([python, CALLS, "remote", repository, folder, str(address)], check=False)
        assert asked.returncode == 0, (folder / "gateway.log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def check_recorded(python: Path, folder: Path) -> None:
    """Check that what the unit tests convert is what this Feast gives; RECORD=1 writes it."""
    from trimtab.app.project import feast_repository

    read = folder / "recorded.json"
    subprocess.run([python, feast_repository.READER, HERE / "feast_kinds", read], check=True, capture_output=True)
    if os.environ.get("RECORD"):
        RECORDED.write_bytes(read.read_bytes())
    assert read.read_bytes().strip() == RECORDED.read_bytes().strip(), (
        f"{RECORDED} is another Feast's; RECORD=1 writes it"
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
