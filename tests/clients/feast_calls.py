"""Feast's own answers and its client's: run by with_feast in an environment that holds feast, not ours.

own REPOSITORY FOLDER: apply the repository, materialise it, and write what it answers into FOLDER.
remote REPOSITORY FOLDER URL: ask a server by Feast's client, print what was asked and answered, and compare.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from feast import FeatureStore
from feast.infra.online_stores.remote import RemoteOnlineStoreConfig
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.repo_operations import apply_total

HOURLY = [f"driver_hourly_stats:{name}" for name in ("conv_rate", "acc_rate", "avg_daily_trips", "licensed")]
PROFILE = ["customer_profile:segment", "customer_profile:visits"]
RIDE = ["last_ride:distance", "last_ride:city"]
STALE = 1005
"""A driver whose last row is older than the view's ttl: Feast answers with it, Trimtab does not."""
PAIRS = [{"driver_id": driver, "customer_id": name} for driver, name in ((1001, "ann"), (1002, "bob"), (1, "ann"))]
REQUESTS: dict[str, tuple[Any, list[dict[str, Any]], bool]] = {
    "whole numbers as keys": (HOURLY, [{"driver_id": driver} for driver in (1001, 1002, 1003)], False),
    "text as keys": (PROFILE, [{"customer_id": name} for name in ("ann", "bob", "Zoë")], False),
    "two keys": (RIDE, PAIRS, False),
    "unknown entities": (HOURLY, [{"driver_id": driver} for driver in (7, 1004)], False),
    "features of two views, full names": (HOURLY[:2] + RIDE, PAIRS, True),
    "a feature service": ("driver_activity", PAIRS, False),
}
"""Title -> features or service, entities, whether names are full."""


def answers(store: FeatureStore) -> dict[str, Any]:
    """Return the answer to each request: feature -> [value, status] of each row."""
    found = {}
    for title, (features, rows, full) in REQUESTS.items():
        asked = store.get_feature_service(features) if isinstance(features, str) else features
        response = store.get_online_features(asked, rows, full_feature_names=full)
        names = response.proto.metadata.feature_names.val
        statuses = {
            name: [FieldStatus.Name(status) for status in result.statuses]
            for name, result in zip(names, response.proto.results, strict=True)
        }
        found[title] = {
            name: [list(pair) for pair in zip(values, statuses[name], strict=True)]
            for name, values in response.to_dict().items()
        }
    return found


def own(repository: Path, folder: Path) -> None:
    """Write historical.parquet and online.json, as Feast's own stores answer."""
    os.chdir(repository)  # as the command `feast apply` does
    sys.path.insert(0, str(repository))
    store = FeatureStore(repo_path=str(repository))
    apply_total(store.config, repository, skip_source_validation=True)
    store = FeatureStore(repo_path=str(repository))
    labels = pd.read_parquet(folder / "labels.parquet")
    began = time.perf_counter()
    frame = store.get_historical_features(labels, HOURLY + PROFILE + RIDE, full_feature_names=True).to_df()
    print(f"get_historical_features of {len(labels)} rows: {len(frame)} rows, {time.perf_counter() - began:.1f} s")
    frame.to_parquet(folder / "historical.parquet")
    store.materialize(labels["event_timestamp"].min() - pd.Timedelta(days=90), pd.Timestamp.now(tz="UTC"))
    stale = store.get_online_features(HOURLY, [{"driver_id": STALE}]).to_dict()
    content = {"answers": answers(store), "stale": stale}
    (folder / "online.json").write_text(json.dumps(content), encoding="utf-8")


def remote(repository: Path, folder: Path, url: str) -> None:
    """Ask a server; print and compare."""
    text = (repository / "feature_store.yaml").read_text().replace("type: sqlite", "type: remote")
    (folder / "feature_store.yaml").write_text(text.replace("path: data/online.db", f"path: {url}"))
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "registry.db").write_bytes((repository / "data" / "registry.db").read_bytes())
    store = FeatureStore(repo_path=str(folder))
    assert isinstance(store.config.online_store, RemoteOnlineStoreConfig)
    expected = json.loads((folder / "online.json").read_text(encoding="utf-8"))
    print((folder / "feature_store.yaml").read_text())
    for title, found in answers(store).items():
        print(f"{title}: {REQUESTS[title][0]}")
        for name, pairs in found.items():
            print(f"    {name}: {', '.join(f'{value!r} ({status})' for value, status in pairs)}")
        compare(title, found, expected["answers"][title])
    stale = store.get_online_features(HOURLY, [{"driver_id": STALE}]).to_dict()
    print(f"driver {STALE}, whose last row is older than the ttl of a day")
    print(f"    Feast's own store {expected['stale']['conv_rate']}, here {stale['conv_rate']}")
    assert stale["conv_rate"] == [None]
    refused(lambda: store.get_online_features(["driver_hourly_stats:conv_rate"], [{"driver": 1001}]), "a misspelt key")
    frame = pd.DataFrame(
        {"customer_id": ["ann"], "segment": ["gold"], "visits": [1], "event_timestamp": [pd.Timestamp.now(tz="UTC")]}
    )
    refused(lambda: store.write_to_online_store("customer_profile", frame), "a write")


def compare(title: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare with Feast's own answer: the names, each value, and whether it is there."""
    assert found.keys() == expected.keys(), f"{title}: {sorted(found)}, Feast's own {sorted(expected)}"
    for name, pairs in found.items():
        for (value, status), (own_value, own_status) in zip(pairs, expected[name], strict=True):
            same = value == own_value and (status == "NOT_FOUND") == (own_status == "NOT_FOUND")
            assert same, f"{title}, {name}: {value!r} ({status}), Feast's own {own_value!r} ({own_status})"


def refused(call: Any, title: str) -> None:
    """Print the message of what is refused."""
    try:
        call()
    except Exception as error:  # each client wraps it in another class
        print(f"{title}: {type(error).__name__}: {error}")
    else:
        raise AssertionError(f"{title} was answered")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(f"feast {version('feast')}, pandas {version('pandas')}")
    if sys.argv[1] == "own":
        own(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        remote(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
