"""Opening a project: mistakes are told with file and line, and versions of one project can be loaded side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trimtab.app.project.definitions_file import load_definitions
from trimtab.app.project.project import open_project
from trimtab.errors import DefinitionError, PolicyError

DEFINITIONS = """
import trimtab as tt
from shared_part import WINDOW

rows = tt.FileSource("rows", "rows.parquet", timestamp="at", known_at="known")
thing = tt.Entity("thing")
recent = tt.FeatureView("recent", entity=thing, source=rows, features=[tt.count(WINDOW)])
model = tt.Model("model", task="binary", examples=rows, label="y", features=[recent, "x"])
"""


def write(folder: Path, *, definitions: str = DEFINITIONS, policy: str = "project: p\n", window: str = "1d") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "definitions.py").write_text(definitions)
    (folder / "shared_part.py").write_text(f"WINDOW = {window!r}\n")
    (folder / "trimtab.yaml").write_text(policy)
    return folder


def test_two_versions_of_a_project_do_not_share_modules(tmp_path: Path) -> None:
    one = load_definitions(write(tmp_path / "one", window="1d"))
    two = load_definitions(write(tmp_path / "two", window="7d"))
    assert one.views["recent"].feature_names == ("recent__count_1d",)
    assert two.views["recent"].feature_names == ("recent__count_7d",)
    assert "shared_part" not in sys.modules
    assert str(tmp_path / "one") not in sys.path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('tt.Entity("thing")', 'tt.Entity("a thing")', r"definitions\.py:6: Entity name 'a thing' is not valid"),
        ("import trimtab as tt", "import trimtab as", r"definitions\.py:2: "),
        ("entity=thing", "entity=things", r"definitions\.py:7: NameError: name 'things' is not defined"),
        (
            "from shared_part",
            "from shard_part",
            r"definitions\.py:3: ModuleNotFoundError: No module named 'shard_part'",
        ),
    ],
)
def test_a_mistake_in_the_definitions_has_a_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = write(tmp_path, definitions=DEFINITIONS.replace(old, new))
    with pytest.raises(DefinitionError, match=message):
        open_project(folder)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("project: p\nchecks:\n  row: checks.Rows\n", r"trimtab\.yaml:3: checks\.row: .*Did you mean 'rows'\?"),
        ("project: p\nrollout:\n  sticky: [thin]\n", r"trimtab\.yaml:3: rollout\.sticky: .*Did you mean 'thing'\?"),
        (
            "project: p\ngates:\n  accuracy: { metric: rmse }\n",
            r"trimtab\.yaml:3: gates\.accuracy\.metric: 'rmse' does not fit model 'model'",
        ),
        (
            "project: p\ngates:\n  calibration: { max: 5%, coverage: 90% }\n",
            r"trimtab\.yaml:3: gates\.calibration\.coverage: only a regression model has such a value",
        ),
        (
            "project: p\ntraining:\n  search: { metric: rmse, space: { depth: [1, 2] } }\n",
            r"trimtab\.yaml:3: training\.search\.metric: 'rmse' does not fit model 'model'",
        ),
        (
            "project: p\nrollout:\n  promote_when: { metric: money }\n",
            r"trimtab\.yaml:3: rollout\.promote_when\.metric: model 'model' has no prices of mistakes",
        ),
    ],
)
def test_the_policy_is_checked_against_the_definitions(tmp_path: Path, policy: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        open_project(write(tmp_path, policy=policy))


def test_a_folder_that_is_no_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="trimtab init flights"):
        open_project(tmp_path)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            "params: { dept: 3 }",
            r"trimtab\.yaml:3: training\.params\.dept: the trainer \(definitions\.py:\d+\) takes no",
        ),
        ("search: { space: { ratte: [1, 2] } }", r"yaml:3: training\.search\.space\.ratte: .* Did you mean 'rate'\?"),
    ],
)
def test_a_parameter_that_no_trainer_declares_is_refused(tmp_path: Path, training: str, message: str) -> None:
    trainer = "@model.trainer\ndef train(data, params, seed, *, depth=3, rate=0.1):\n    return None\n"
    policy = f"project: p\ntraining:\n  {training}\n"
    folder = write(tmp_path, policy=policy)
    with (folder / "definitions.py").open("a") as file:
        file.write(trainer)
    with pytest.raises(PolicyError, match=message):
        open_project(folder)
    (folder / "definitions.py").write_text((folder / "definitions.py").read_text().replace("rate=0.1", "**more"))
    assert open_project(folder).policy.project == "p"


def test_a_price_of_a_class_that_no_model_declares_is_refused(tmp_path: Path) -> None:
    policy = "project: p\nimpact:\n  cost:\n    matrix: { late: { onn time: 12 } }\n"
    folder = write(tmp_path, policy=policy)
    path = folder / "definitions.py"
    path.write_text(path.read_text().replace('task="binary"', 'task="multiclass", classes=["on time", "late"]'))
    with pytest.raises(PolicyError, match=r"yaml:4: impact\.cost\.matrix: .* 'onn time'\. Did you mean 'on time'\?"):
        open_project(folder)
    (folder / "trimtab.yaml").write_text(policy.replace("onn", "on"))
    assert open_project(folder).policy.impact.matrix == {"late": {"on time": 12}}
