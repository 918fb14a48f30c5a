"""The JSON Schema that editors use: it accepts what the reader accepts, and refuses the plain mistakes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from trimtab.errors import PolicyError
from trimtab.policy.key_reference import json_schema
from trimtab.policy.reader import parse_policy

EXAMPLE = Path(__file__).parents[3] / "examples" / "flights" / "trimtab.yaml"
TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
LIMITS = {
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
}
UNDERSTOOD = {
    *LIMITS,
    *("$defs", "$ref", "$schema", "additionalProperties", "anyOf", "enum", "items", "minItems", "minLength"),
    *("pattern", "properties", "propertyNames", "required", "type"),
    *("default", "description", "examples", "title"),  # which say nothing about what is valid
}


def violations(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> Iterator[str]:
    """Check a value against a schema; knows the words of JSON Schema that ours uses, and no others."""
    assert schema.keys() <= UNDERSTOOD, schema.keys() - UNDERSTOOD
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, at)
    if "anyOf" in schema and all(any(violations(value, option, root, at)) for option in schema["anyOf"]):
        yield f"{at}: {value!r} fits no alternative"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "type" in schema and not isinstance(value, TYPES[schema["type"]]):
        yield f"{at}: {value!r} is no {schema['type']}"
    elif isinstance(value, str):
        if not re.search(schema.get("pattern", ""), value) or len(value) < schema.get("minLength", 0):
            yield f"{at}: {value!r} does not match"
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{at}: too few"
        for number, each in enumerate(value):
            yield from violations(each, schema.get("items", {}), root, f"{at}.{number}")
    elif isinstance(value, dict):
        yield from violations_below(value, schema, root, at)
    elif isinstance(value, int | float):
        yield from (
            f"{at}: {value} breaks {name}" for name in LIMITS if name in schema and not within(value, name, schema)
        )


def violations_below(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    yield from (f"{at}: {name} is missing" for name in schema.get("required", ()) if name not in value)
    for name, each in value.items():
        yield from violations(name, schema.get("propertyNames", {}), root, f"{at}.{name}")
        below = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
        if below is False:
            yield f"{at}.{name}: unknown key"
        elif below is not True:
            yield from violations(each, below, root, f"{at}.{name}")


def within(value: float, name: str, schema: dict[str, Any]) -> bool:
    return bool(LIMITS[name](value, schema[name]))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def test_it_accepts_the_example(schema: dict[str, Any]) -> None:
    assert list(violations(yaml.safe_load(EXAMPLE.read_text()), schema, schema)) == []


ACCEPTED = [
    "{}",
    "checks: { flights: checks.Flights, weather: { schema: checks.Weather, max_failing_rows: 0.5 } }",
    "training: { history: 180d, holdout: 20%, params: { anything: [1] } }",
    "training: { history: null, holdout: 0.2 }",
    "gates: { accuracy: null, performance: { p99: 1.5 ms, memory: 2GiB } }",
    "gates: { robustness: { noise: 0.1sd, missing: 5 % } }",
    "gates: { calibration: { max: 5%, bins: 15, coverage: 0.8 } }",
    "rollout: { rollback_when: { error_rate: 2%, p99: 250ms }, promote_when: { confidence: 95% } }",
    "impact: { medium: 100, high: 5000 / week }",
    "decide: { budget: { retrains: 8, cost: 20/month } }",
    "decide: { matrix: { all: { p: '> 0', low: review, medium: review, high: retrain } } }",
    "environments: { production: { metadata: 'sqlite:///x' } }",
    "rollout: { split: { champion: 90%, challenger: 10 } }",
]
REFUSED = [
    "rollout: { split: { champion: 90%%, challenger: 10% } }",
    "gatez: {}",
    "checks: { flights: 5 }",
    "training: { holdout: 200 }",
    "training: { history: 180 }",
    "gates: { accuracy: { metric: roc_acu } }",
    "gates: { bias: { max: 0.1 } }",
    "gates: { calibration: { coverage: 90% } }",
    "gates: { calibration: { max: 0.05, bins: 1 } }",
    "gates: { bias: { sensitive: [], max: 0.1 } }",
    "gates: { performance: { p99: 10 } }",
    "gates: { performance: { memory: 500Mb } }",
    "rollout: { strategy: canari }",
    "rollout: { split: { champion: 90, shadow: 10 } }",
    "rollout: { sticky: carrier }",
    "impact: { medium: 500/fortnight }",
    "decide: { window: 1 day }",
    "decide: { matrix: { all: { p: 0.05, low: review, medium: review, high: retrain } } }",
    "decide: { matrix: { all: { p: '> 0', low: retrian, medium: review, high: retrain } } }",
    "serving: { port: 99999 }",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_the_reader_accepts_it_accepts(schema: dict[str, Any], text: str) -> None:
    parse_policy(f"project: p\n{text if text != '{}' else ''}")
    assert list(violations({"project": "p", **yaml.safe_load(text)}, schema, schema)) == []


@pytest.mark.parametrize("text", REFUSED)
def test_plain_mistakes_are_refused_by_both(schema: dict[str, Any], text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(f"project: p\n{text}")
    assert list(violations({"project": "p", **yaml.safe_load(text)}, schema, schema))


def test_a_project_is_asked_for(schema: dict[str, Any]) -> None:
    assert list(violations({}, schema, schema)) == [": project is missing"]


def test_every_property_is_described(schema: dict[str, Any]) -> None:
    sections = [schema, *schema["$defs"].values()]
    properties = [each for section in sections for each in section.get("properties", {}).items()]
    assert len(properties) > 60
    assert [name for name, entry in properties if not entry.get("description")] == []
    texts = [
        entry["description"] for entry in (*sections, *(entry for _, entry in properties)) if "description" in entry
    ]
    assert [text for text in texts if re.search(r"(?<!\$)\{\w+\}", text)] == []


def test_defaults_are_as_they_would_be_written(schema: dict[str, Any]) -> None:
    for name, section in schema["$defs"].items():
        for key, entry in section.get("properties", {}).items():
            if "default" in entry:
                assert list(violations(entry["default"], entry, schema, f"{name}.{key}")) == []
