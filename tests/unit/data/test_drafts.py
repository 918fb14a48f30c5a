"""A draft accepts the rows that it was made from, in both forms, and says nothing of personal data."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.checks import check
from trimtab.data.drafts import as_python, as_yaml, draft_columns
from trimtab.data.schemas import load_schema
from trimtab.definitions.sources import FileSource
from trimtab.errors import PolicyError

SOURCE = FileSource("orders", "orders", timestamp="at", pii=["email"])
ROWS = pl.DataFrame(
    {
        "at": [datetime(2026, 1, day % 28 + 1, tzinfo=UTC) for day in range(120)],
        "number": range(120),
        "email": ["a@b.c", "d@e.f"] * 60,
        "shop": ["s1", "s2", None] * 40,
        "note": [f"note {n}" * (n % 3) for n in range(120)],
        "amount": [float(n % 7) - 2.5 for n in range(120)],
        "day": [date(2026, 1, 1)] * 120,
        "paid": [True, False] * 60,
        "lines": [[1, 2]] * 120,
    },
    schema_overrides={"at": pl.Datetime("us", "UTC")},
)


@pytest.fixture(params=["yaml", "python"])
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    columns = draft_columns(ROWS, SOURCE)
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "orders.yaml").write_text(as_yaml(columns, title="Draft."))
    (tmp_path / "orders_checks.py").write_text(as_python(columns, title="Draft.", name="Orders"))
    return "checks/orders.yaml" if request.param == "yaml" else "orders_checks.Orders"


def test_a_draft_accepts_its_rows_and_refuses_others(name: str, tmp_path: Path) -> None:
    schema = load_schema(name, tmp_path, table="orders")
    assert check(ROWS, schema, timestamp="at").failures == ()
    wrong = ROWS.with_columns(
        shop=pl.lit("s9"), amount=pl.lit(99.0), number=pl.lit(7, pl.Int64), paid=pl.lit(None, pl.Boolean)
    )
    failed = check(wrong, schema, timestamp="at").failures
    assert {failure.column for failure in failed} == {"shop", "amount", "number", "paid"}


def test_a_draft_says_what_it_saw_and_nothing_of_personal_data() -> None:
    text = as_yaml(draft_columns(ROWS, SOURCE, keys=["amount"]), title="Draft.")
    assert "  # missing in 40 of 120 rows, 2 values\n" in text
    assert "  # never missing, no value twice\n" in text
    assert "  # never missing, a key, 7 values\n" in text
    assert "a@b.c" not in text
    assert "personal data" in text


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.none(), min_size=1, max_size=30))
def test_ranges_hold_the_values_seen(values: list[float | None]) -> None:
    frame = pl.DataFrame(
        {"at": [datetime(2026, 1, 1, tzinfo=UTC)] * len(values), "x": values}, schema_overrides={"x": pl.Float64}
    )
    checks = next(column.checks for column in draft_columns(frame, SOURCE) if column.name == "x")
    seen = [value for value in values if value is not None]
    if seen:
        limits = checks["in_range"]
        assert limits["min_value"] <= min(seen) <= max(seen) <= limits["max_value"]


def test_a_yaml_file_that_is_no_schema_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("columns: [1\n")
    with pytest.raises(PolicyError, match=r"checks\.orders: .*a\.yaml is no schema in Pandera's YAML format"):
        load_schema("a.yaml", tmp_path, table="orders")
    with pytest.raises(PolicyError, match=r"there is no file .*b\.yaml"):
        load_schema("b.yaml", tmp_path, table="orders")
