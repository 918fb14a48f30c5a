"""What is wrong in definitions.py is told with the user's own file and line, whenever it is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trimtab.app.project.definitions_file import load_definitions
from trimtab.definitions.models import Dataset
from trimtab.errors import DefinitionError, TrainerFailed
from trimtab.features.transforms import run
from trimtab.training.trainer import fit

HEAD = """import trimtab as tt

orders = tt.FileSource("orders", "data/orders.parquet", timestamp="at", known_at="known_at")
"""
MODEL = """model = tt.Model("late", task="binary", examples=orders, label="late", features=["a"])
"""


def written(folder: Path, text: str) -> Path:
    (folder / "definitions.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('tt.FileSource("x", "x.csv", timestmp="at")', "tt.FileSource(...) takes no argument 'timestmp'. Did you mean"),
        (
            'tt.FileSource("x", "x.csv")',
            "missing 1 required keyword-only argument: 'timestamp'; its",
        ),
        ('tt.FeatureView("v", entitty=1)', "tt.FeatureView(...) takes no argument 'entitty'. Did you mean 'entity'?"),
        ('tt.count(window="1d")', "tt.count(...) takes no argument 'window'. Did you mean 'windows'?"),
        (
            'tt.mean("a", windows=["1d"])',
            "takes 'windows' by position, without its name: tt.mean(column, *windows, where, name)",
        ),
        ('tt.sum("a", window="1d")', "tt.sum(...) takes no argument 'window'. Did you mean 'windows'?"),
        ('tt.count("1 fortnight")', "count: "),
        ('tt.Model("m", task="bynary", examples=orders, label="y", features=["a"])', "unknown task 'bynary'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        load_definitions(written(tmp_path, HEAD + line + "\n"))
    assert str(refused.value).startswith(f"{tmp_path}/definitions.py:4: ")
    assert message in str(refused.value)


def test_the_line_is_named_of_a_folder_that_is_given_from_here_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, HEAD + 'tt.Entty("x")\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DefinitionError, match=r"definitions\.py:4: .*no attribute 'Entty'. Did you mean 'Entity'\?"):
        load_definitions(Path())


def test_the_line_of_a_module_beside_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.py").write_text('import trimtab as tt\n\ntt.FileSource("no name", "x.csv", timestamp="at")\n')
    with pytest.raises(DefinitionError, match=rf"^{tmp_path}/sources.py:3: FileSource name 'no name' is not valid"):
        load_definitions(written(tmp_path, "import sources\n"))


def test_two_things_of_one_name_are_named_with_their_lines(tmp_path: Path) -> None:
    text = HEAD + 'again = tt.FileSource("orders", "data/other.parquet", timestamp="at")\n'
    with pytest.raises(DefinitionError, match=r"sources named 'orders', at definitions.py:3 and at definitions.py:4"):
        load_definitions(written(tmp_path, text))


def test_two_trainers_for_one_model_are_refused(tmp_path: Path) -> None:
    trainer = "@model.trainer\ndef {}(data, params, seed): ...\n"
    text = HEAD + MODEL + trainer.format("one") + trainer.format("two")
    with pytest.raises(DefinitionError, match=r"Model 'late' has two trainers, definitions.py:5 and definitions.py:7"):
        load_definitions(written(tmp_path, text))


def test_what_is_found_later_names_the_definition(tmp_path: Path) -> None:
    found = load_definitions(written(tmp_path, HEAD + MODEL))
    for message in ("Model 'late', source 'orders': column 'at' is String", "model 'late' has no trainer"):
        with pytest.raises(DefinitionError, match=r"^definitions.py:4: [Mm]odel 'late'"), found.placed():
            raise DefinitionError(message)
    with pytest.raises(DefinitionError, match=r"^of nothing that is known"), found.placed():
        raise DefinitionError("of nothing that is known")


def test_a_transform_that_fails_names_its_line(tmp_path: Path) -> None:
    text = HEAD + "@tt.on_demand(inputs=['a'])\ndef half(a):\n    b = a\n    return b / missing\n"
    transform = load_definitions(written(tmp_path, text)).transforms["half"]
    with pytest.raises(DefinitionError, match=r"^definitions.py:7: on_demand 'half' failed: NameError: name 'missing'"):
        run(transform, [np.zeros(2)], 2)


def test_a_trainer_that_fails_in_a_module_beside_it_names_that_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fitting.py").write_text("def grow(X):\n    return X.depth\n")
    trainer = "@model.trainer\ndef train(data, params, seed):\n    import fitting\n    return fitting.grow(data.X)\n"
    model = load_definitions(written(tmp_path, HEAD + MODEL + trainer)).model()
    X, y = np.zeros((2, 1), np.float32), np.zeros(2)
    data = Dataset(X=X, y=y, feature_names=("a",), timestamps=np.zeros(2, "datetime64[us]"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrainerFailed, match=rf"^{tmp_path}/fitting.py:2: the trainer of model 'late' failed: Attr"):
        fit(model, data, {}, 0)
    assert TrainerFailed.exit_code == 1
