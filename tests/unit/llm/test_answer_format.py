"""Answers are held against their schema, and nothing is fetched for that."""

from __future__ import annotations

import pytest

from trimtab.errors import DefinitionError
from trimtab.llm.answer_format import AnswerSchema

TRIAGE = {
    "type": "object",
    "properties": {"queue": {"enum": ["billing", "access"]}},
    "required": ["queue"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"queue": "billing"}', ""),
        ('{"queue": "sales"}', 'queue: "sales" is not one of'),
        ('{"queue": "billing", "x": 1}', "Additional properties"),
        ('Sure: {"queue": "billing"}', "no JSON"),
        ("", "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"queue": NaN}', "NaN"),
    ],
)
def test_an_answer_that_does_not_fit_says_why(text: str, wrong: str) -> None:
    value, said = AnswerSchema(TRIAGE).read(text)
    assert (said == "") == (wrong == "")
    assert wrong in said
    assert value == ({"queue": "billing"} if not wrong else None)


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"$ref": "http://127.0.0.1:9/schema.json"}])
def test_what_is_no_schema_of_its_own_is_refused(schema: dict[str, str]) -> None:
    with pytest.raises(DefinitionError, match="no JSON schema"):
        AnswerSchema(schema)
