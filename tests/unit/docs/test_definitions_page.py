"""The examples of docs/definitions.md, run one after another; claims in words that no example shows are tried here."""

from __future__ import annotations

import doctest
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import trimtab as tt
from trimtab.errors import DefinitionError
from trimtab.features.training_frames import training_frame

PAGE = Path(__file__).parents[3] / "docs" / "definitions.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OF_FILES = ("key", "separator", "decimal", "encoding", "date_format", "time_unit", "time_zone", "dtypes")
"""Options of FileSource that docs/data.md tells of."""
NO_DEFINITIONS = ("DriftMonitor", "TrimtabError")
"""Public names that no definition has."""
START = datetime(2024, 3, 1, tzinfo=UTC)


def test_the_examples_do_what_they_show() -> None:
    names: dict[str, Any] = {"__name__": "definitions"}
    runner = doctest.DocTestRunner()
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) > 10
    said: list[str] = []
    for number, block in enumerate(blocks):
        if ">>>" in block:
            test = doctest.DocTestParser().get_doctest(block, names, f"block {number}", str(PAGE), 0)
            runner.run(test, out=said.append, clear_globs=False)
            names.update(test.globs)
        else:
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_every_public_name_and_argument_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in tt.__all__ if f"tt.{name}" not in text and name not in NO_DEFINITIONS] == []
    for kind, left_out in ((tt.FileSource, OF_FILES), (tt.FeatureView, ("name",)), (tt.Model, ("name", "fit"))):
        fields = [f.name for f in kind.__dataclass_fields__.values() if f.init]
        assert [
            name for name in fields if name not in left_out and f"`{name}" not in text and f"{name}=" not in text
        ] == []


def rows(**columns: list[Any]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    return pl.DataFrame({"at": [START + timedelta(hours=n) for n in range(count)], "key": ["a"] * count, **columns})


def features(aggregations: Any, table: pl.DataFrame, key: Any = "a") -> list[Any]:
    source = tt.FileSource("events", "events.parquet", timestamp="at")
    view = tt.FeatureView("v", tt.Entity("key"), source, aggregations)
    types = {"key": table["key"].dtype}
    asked = pl.DataFrame({"key": [key], "t": [START + timedelta(hours=table.height)]}, schema_overrides=types)
    return list(tt.point_in_time_join(asked, [(view, table)], at="t").row(0)[2:])


def test_aggregations_pass_over_null_nan_and_infinity_but_last_and_count_do_not() -> None:
    table = rows(x=[2.0, None, float("nan"), float("inf"), 4.0, None])
    each = [tt.count("1d"), tt.sum("x", "1d"), tt.mean("x", "1d"), tt.min("x", "1d"), tt.max("x", "1d"), tt.last("x")]
    assert features(each, table) == [6.0, 6.0, 3.0, 2.0, 4.0, None]
    assert features(each, table, key="nobody") == [0.0, None, None, None, None, None]
    assert features(each, table, key=None) == [0.0, None, None, None, None, None]


def test_booleans_count_as_numbers_and_text_cannot_be_aggregated() -> None:
    table = rows(x=[True, True, False, None], text=["a", "b", "c", "d"])
    assert features(tt.mean("x", "1d"), table) == [2 / 3]
    with pytest.raises(DefinitionError, match=r"column 'text' is String; expected numbers or booleans"):
        features(tt.mean("text", "1d"), table)


def test_keys_are_text_whole_numbers_or_booleans_of_one_type() -> None:
    for key in ("a", 7, True):
        table = rows(x=[1.0, 2.0]).with_columns(key=pl.lit(key))
        assert features(tt.count("1d"), table, key=key) == [2.0]
    with pytest.raises(DefinitionError, match=r"key 'key' is Float64; expected text, integers or booleans"):
        features(tt.count("1d"), rows(x=[1.0]).with_columns(key=pl.lit(1.5)), key=1.5)


def test_a_transform_that_looks_at_other_rows_is_refused() -> None:
    @tt.on_demand(inputs=["x"])
    def centred(x: Any) -> Any:
        return x - np.nanmean(x)

    source = tt.FileSource("events", "events.parquet", timestamp="at")
    model = tt.Model("m", "binary", source, "y", [centred])
    table = rows(x=[1.0, 2.0, 4.0], y=[0.0, 1.0, 1.0])
    with pytest.raises(DefinitionError, match="it may not depend on other rows"):
        training_frame(model, lambda _: table.lazy(), as_of=START + timedelta(days=1))


def test_a_dataset_has_the_form_that_the_page_tells() -> None:
    fields = tt.Dataset.__dataclass_fields__
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in fields if f"| `{name}` |" not in text] == []
