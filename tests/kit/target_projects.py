"""Projects that files for other systems are made of: two examples, and one with several models."""

from __future__ import annotations

import re
from pathlib import Path

from trimtab.app.project.project import open_project
from trimtab.targets.project_facts import Facts

REPOSITORY = Path(__file__).resolve().parents[2]
SHAPES = ("flights", "bikes", "several")
SEVERAL = """
import numpy as np

import trimtab as tt

parcels = tt.FileSource("parcels", "incoming/parcels.parquet", timestamp="at")
orders = tt.FileSource("orders", "s3://shop/orders", timestamp="at")
clients = tt.SQLSource(
    "clients",
    connection=f"postgresql://app:{tt.secret('SHOP_PASSWORD')}@db/shop",
    table="clients",
    cursor="changed_at",
    key=["client"],
    timestamp="changed_at",
)
size = tt.Model(
    "parcel_size", task="multiclass", examples=parcels, label="size", features=["length"], classes=["small", "large"]
)
late = tt.Model("late", task="regression", examples=orders, label="minutes", features=["distance"])
pump = tt.Model("pump", task="anomaly", examples=parcels, features=["length"])


def booster(seed):
    from lightgbm import LGBMRegressor

    return LGBMRegressor(random_state=seed)


@size.trainer
def train_size(data, params, seed):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(random_state=seed).fit(data.X, data.y)


@late.trainer
def train_late(data, params, seed):
    return booster(seed).fit(data.X, data.y)


@pump.trainer
def train_pump(data, params, seed):
    from sklearn.ensemble import IsolationForest

    return IsolationForest(random_state=seed).fit(data.X)
"""
POLICY = """
project: Parcel Shop
rollout: { strategy: canary, canary: { steps: [5%, 50%] } }
retrain: { refresh: { every: 7d } }
serving:
  authentication: tokens
  grpc_port: 8081
  drain_delay: 5s
  drain: 20s
alerts:
  channels:
    ops: { url: "slack://${SLACK_TOKEN}/" }
triggers:
  merged: { on: merge, secret: MERGE_TOKEN }
environments:
  staging: { metadata: "postgresql+psycopg://trimtab@staging/trimtab", predictions: kafka://staging:9092/predictions }
  production:
    metadata: "postgresql+psycopg://trimtab@db/trimtab"
    predictions: kafka://kafka:9092/predictions
"""

KUBERNETES = """
deploy:
  image: registry.example.com/shop
  kubernetes:
    namespace: shop
    replicas: { min: 2, max: 5 }
    cpu: 2
    memory: 3GiB
    storage: { size: 20GiB, storage_class: fast }
    ingress: { host: shop.example.com, ingress_class: nginx, tls_secret: shop-tls }
    callers: [web]
    service_monitor: true
    ingest: "15 * * * *"
    repository: https://git.example.com/shop/models.git
"""
"""Further lines of the policy: every key of deploy.kubernetes."""


def facts_of(shape: str, folder: Path, policy: str = "") -> Facts:
    """Return the facts of a project; policy: further lines of its trimtab.yaml. folder: empty, for `several`."""
    source = REPOSITORY / "examples" / shape
    texts = {"definitions.py": SEVERAL, "trimtab.yaml": POLICY}
    if source.is_dir():
        texts = {path.name: path.read_text() for path in source.iterdir() if path.suffix in (".py", ".yaml")}
    if "deploy:" in policy:  # takes the place of the example's
        texts["trimtab.yaml"] = re.sub(r"^deploy:.*\n(  .*\n)*", "", texts["trimtab.yaml"], flags=re.MULTILINE)
    texts["trimtab.yaml"] += policy
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    project = open_project(folder)
    return Facts(
        policy=project.policy,
        definitions=project.definitions,
        subfolder="",
        version="0.1.0",
        policy_text=texts["trimtab.yaml"],
        constraints=(REPOSITORY / "constraints.txt").read_text(),
    )
