"""What a user of BentoML has: BOOSTER FOLDER. Runs with bentoml in an environment of its own, without Trimtab."""

# mypy: ignore-errors
# an environment of its own, in which mypy does not run

import shutil
import sys
from pathlib import Path

import bentoml
from sklearn.linear_model import LogisticRegression

SERVICE = """
import bentoml


@bentoml.service(workers=2, resources={"cpu": "2", "memory": "1Gi"}, traffic={"timeout": 15, "concurrency": 8})
class Price:
    @bentoml.api
    def predict(self, x: float) -> float:
        return x
"""


def main(booster: str, folder: str) -> None:
    """Keep two models in the store, export one of them and a Bento into the folder."""
    place = Path(folder)
    options = {"module": "bentoml.lightgbm", "signatures": {}, "labels": {"team": "risk"}}
    context = bentoml.models.ModelContext(framework_name="lightgbm", framework_versions={"lightgbm": "4.6.0"})
    with bentoml.models.create("price", context=context, **options) as model:
        shutil.copyfile(booster, Path(model.path) / "saved_model.txt")
    bentoml.models.export_model("price:latest", str(place / "price.bentomodel"))
    bentoml.sklearn.save_model("risk", LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    (place / "service.py").write_text(SERVICE)
    built = bentoml.bentos.build(
        "service:Price", build_ctx=str(place), include=["service.py"], python={"lock_packages": False}
    )
    bentoml.bentos.export_bento(str(built.tag), str(place / "price.bento"))
    print("bentoml", bentoml.__version__)


main(*sys.argv[1:])
