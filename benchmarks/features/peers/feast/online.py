"""Feast's online store in SQLite: materialise users.parquet, read, serve.

measure FOLDER ENTITIES: print figures as JSON. apply FOLDER ENTITIES: leave a repository that `feast serve` reads.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

from benchmarks.features.timing import median_us

COLUMNS = [f"f{n}" for n in range(20)]
READS = {1: 200, 100: 30}
YAML = """project: bench
provider: local
registry: registry.db
online_store: {type: sqlite, path: online.db}
offline_store: {type: duckdb}
entity_key_serialization_version: 3
"""


def materialised(folder: Path) -> tuple[FeatureStore, float]:
    """Return a store with the values of the file, and the seconds that materialising took."""
    place = folder / "feast"
    place.mkdir(exist_ok=True)
    (place / "feature_store.yaml").write_text(YAML)
    store = FeatureStore(repo_path=str(place))
    user = Entity(name="user", value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "users.parquet"), timestamp_field="at")
    fields = [Field(name=name, dtype=Float64) for name in COLUMNS]
    store.apply([user, FeatureView(name="v", entities=[user], ttl=timedelta(days=2), schema=fields, source=source)])
    now = pd.Timestamp.now(tz="UTC")
    began = time.perf_counter()
    store.materialize((now - pd.Timedelta(days=1)).to_pydatetime(), now.to_pydatetime())
    return store, time.perf_counter() - began


def main(what: str, folder: Path, entities: int) -> None:
    """Materialise; measure reads where they are asked for."""
    with contextlib.redirect_stdout(sys.stderr):
        store, seconds = materialised(folder)
    figures = {"write_s": seconds}
    names = [f"v:{name}" for name in COLUMNS]
    for size, times in READS.items() if what == "measure" else ():

        def read(number: int, size: int = size) -> None:
            rows = [{"user": (number * 7919 + each * 104_729) % entities} for each in range(size)]
            store.get_online_features(names, rows).to_dict()

        figures[f"read_{size}_us"] = median_us(read, times)
    print(json.dumps(figures))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
