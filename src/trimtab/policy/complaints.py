"""Turns the errors of pydantic into lines with the key, the value, and what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from trimtab.errors import nearest
from trimtab.policy.model import Checks
from trimtab.policy.tree import KeyPath, valid_keys

EXPECTED = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "finite_number": "expected a finite number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "greater_than": "expected more than {gt:g}",
    "greater_than_equal": "expected {ge:g} or more",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "less_than": "expected less than {lt:g}",
    "less_than_equal": "expected {le:g} or less",
    "list_type": "expected a list, such as [carrier]",
    "string_pattern_mismatch": "expected text of the form {pattern}",
    "string_too_short": "expected some text",
    "string_type": "expected text",
    "too_short": "expected at least one entry",
}
"""pydantic's type of an error -> what was expected."""
SECTION_ERRORS = ("model_type", "model_attributes_type", "dict_type")
PERCENT = re.compile(r"\s*([0-9.]+)\s*%\s*")
MAX_SHOWN = 60


def complaint(problem: ErrorDetails, lines: Mapping[KeyPath, int]) -> tuple[int, str]:
    """Return the line of a problem, and the key with what is wrong and what was expected."""
    location = tuple(str(part) for part in problem["loc"])
    key = tuple(part for part in location if part != "[key]")
    while key and key not in lines:
        key = key[:-1]
    message = _message(problem, location, key)
    if key[:1] == ("checks",) and len(key) > 1 and key[1] not in Checks.model_fields:
        near = get_close_matches(key[1], Checks.model_fields, n=1)  # any other key is the name of a table
        message += f"; did you mean the key '{near[0]}'?" if near else ""
    return lines.get(key, 1), f"{'.'.join(key)}: {message}" if key else message


def _message(problem: ErrorDetails, location: KeyPath, key: KeyPath) -> str:
    kind, given, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key '{location[-1]}'.{nearest(location[-1], valid_keys(location[:-1]))}"
    if kind == "missing":
        return f"missing key '{location[-1]}'"
    if kind == "literal_error":
        what = "key" if location[-1] == "[key]" else "value"
        valid = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"unknown {what} {_shown(given)}.{_choice(str(given), valid)}"
    if kind in SECTION_ERRORS:
        keys = valid_keys(key)
        such_as = f" ({', '.join(keys[:4])}{', ...' if len(keys) > 4 else ''})" if keys else ""
        return f"expected keys below it{such_as}, found {_shown(given)}"
    if kind in EXPECTED:
        message = f"{EXPECTED[kind].format(**context)}, found {_shown(given)}"
        percent = PERCENT.fullmatch(given) if isinstance(given, str) else None
        return f"{message}; write {float(percent[1]) / 100:g}" if percent else message
    return str(problem["msg"]).removeprefix("Value error, ")


def _choice(given: str, valid: list[str]) -> str:
    """Return the nearest of a few values, and all of them."""
    hint = nearest(given, valid)
    return hint if "Valid:" in hint else f"{hint} Valid: {', '.join(valid)}."


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
