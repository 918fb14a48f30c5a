"""What a FileSource says of its files: good options are kept, wrong ones are named with what is right."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.definitions.aggregations import count
from trimtab.definitions.sources import FileSource
from trimtab.definitions.views import Entity, FeatureView
from trimtab.errors import DefinitionError


def source(**options: Any) -> FileSource:
    return FileSource("orders", "data/orders", timestamp="at", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": ";;"}, "separator is ';;'; expected one character, such as ';'"),
        ({"separator": ""}, "separator is ''; expected one character"),
        ({"separator": '"'}, "expected one character"),
        ({"decimal": ","}, "separator and decimal are both ','"),
        ({"decimal": "'"}, "decimal is \"'\"; expected '.' or ','"),
        ({"encoding": "utf-88"}, "encoding 'utf-88' is not known to Python. Did you mean 'utf-8'"),
        ({"date_format": "DD.MM.YYYY"}, "expected strptime's codes, such as '%d.%m.%Y %H:%M'"),
        ({"time_unit": "millis"}, "time_unit is 'millis'; expected one of s, ms, us, ns"),
        ({"time_unit": "ms", "date_format": "%Y"}, "date_format is for texts, time_unit for numbers"),
        ({"time_zone": "Europe/Berln"}, "there is no time zone 'Europe/Berln'. Did you mean 'Europe/Berlin'"),
        ({"time_zone": "../etc"}, "there is no time zone '../etc'"),
        ({"dtypes": {"id": "string"}}, "column 'id' is 'string'; expected one of text, integer, number, boolean, time"),
        ({"dtypes": ["id"]}, "expected such as {'id': 'text'}"),
        ({"dtypes": {"at": "text"}}, "column 'at' is a time; it cannot be 'text'"),
        ({"key": "order"}, "key is 'order'; expected a list, such as ['order']"),
        ({"key": ["a", "a"]}, "'a' is there twice"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        source(**options)
    assert message in str(refused.value)
    assert "FileSource 'orders'" in str(refused.value)


def test_options_are_kept_and_sources_can_be_compared_and_hashed() -> None:
    made = source(key=["order"], separator=";", decimal=",", time_zone="Europe/Berlin", dtypes={"zip": "text"})
    assert made.key == ("order",)
    assert made == source(key=["order"], separator=";", decimal=",", time_zone="Europe/Berlin", dtypes={"zip": "text"})
    assert made != source(key=["order"], separator=";", decimal=",", time_zone="Europe/Berlin")
    assert isinstance(hash(made), int)


def test_a_key_makes_another_version_of_a_view_and_other_options_do_not() -> None:
    def version(**options: Any) -> str:
        return FeatureView("v", Entity("e"), source(**options), [count("1d")]).version_id

    assert version() == version(separator=";", time_zone="UTC", dtypes={"zip": "text"})
    assert version() != version(key=["order"])
