"""Durations, shares, rates and sizes as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import units


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("10ms", 10_000),
        ("1us", 1),
        ("30s", 30_000_000),
        ("15m", 900_000_000),
        (" 3 h ", 10_800_000_000),
        ("1.5d", 129_600_000_000),
        ("1w", 604_800_000_000),
    ],
)
def test_durations_become_microseconds(text: str, micros: int) -> None:
    assert units.micros(text) == micros
    assert units.duration(text) == timedelta(microseconds=micros)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7 days", "'days' is no unit. Did you mean 'd'?"),
        ("90 minutes", "Did you mean 'm'?"),
        ("5D", "Did you mean 'd'?"),
        ("5 fortnights", "Valid: d, h, m, ms, s, us, w."),
        ("5", "it has no unit; expected such as 10ms, 30s, 15m, 3h or 7d"),
        ("0d", "more than zero"),
        ("0.4us", "more than zero"),
        ("-1d", "expected a number and a unit"),
        ("soon", "expected a number and a unit"),
        ("99999999999w", "less than 106751991d"),
    ],
)
def test_a_wrong_duration_says_what_is_right(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="is not a duration") as refused:
        units.micros(text)
    assert f"'{text}'" in str(refused.value)
    assert words in str(refused.value)


@given(st.integers(min_value=1, max_value=2**53))
def test_short_reads_back_as_the_same_duration(micros: int) -> None:
    assert units.micros(units.short(micros)) == micros


def test_short_takes_the_largest_unit_up_to_days() -> None:
    assert [units.short(value) for value in (7 * units.MICROS["d"], 90 * units.MICROS["m"], 1_500)] == [
        "7d",
        "90m",
        "1500us",
    ]


@pytest.mark.parametrize(("text", "value"), [("1%", 0.01), ("0.25", 0.25), (0.5, 0.5), ("100 %", 1.0), (0, 0.0)])
def test_shares(text: str | float, value: float) -> None:
    assert units.share(text) == value


@pytest.mark.parametrize("text", ["101%", 1.5, -0.1, float("nan"), "half", "5 percents of it"])
def test_what_is_no_share(text: str | float) -> None:
    with pytest.raises(ValueError, match="is not a share"):
        units.share(text)


def test_percent_in_words_is_told_its_sign() -> None:
    with pytest.raises(ValueError, match=r"'percent' is no unit\. Did you mean '%'\?"):
        units.share("5 percent")


@pytest.mark.parametrize(("text", "size"), [("500MB", 500_000_000), ("2GiB", 2**31), ("1.5 KB", 1500), (7, 7)])
def test_sizes(text: str | int, size: int) -> None:
    assert units.bytes_(text) == size


def test_a_size_in_other_capitals_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'Mb' is no unit\. Did you mean 'MB'\?"):
        units.bytes_("500Mb")


@pytest.mark.parametrize(("text", "value"), [("0.1sd", 0.1), (0.2, 0.2), ("3", 3.0)])
def test_noise(text: str | float, value: float) -> None:
    assert units.standard_deviations(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("500/day", 500), ("3000 / month", 100), ("1/hour", 24), ("70/week", 10), ("8", 8), (9, 9)]
)
def test_rates_are_a_day(text: str | float, value: float) -> None:
    assert units.per_day(text) == pytest.approx(value)


def test_an_amount_without_a_period_takes_the_one_it_is_told() -> None:
    assert units.per_day("30", otherwise="month") == pytest.approx(1)
    assert units.per_day(30, otherwise="month") == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8/mnth", r"'mnth' is no period. Did you mean 'month'\?"),
        ("8/decade", "Valid: day, hour, month, week, year"),
        ("lots/day", "expected an amount and a period, such as 500/day"),
        ("nan/day", "expected an amount and a period"),
        ("inf", "expected an amount and a period"),
    ],
)
def test_a_wrong_rate_says_what_is_right(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        units.per_day(text)


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (1200, "1,200 rows")])
def test_a_number_has_the_noun_that_fits(number: int, text: str) -> None:
    assert units.plural(number, "row") == text
    assert units.plural(1, "entry", "entries") == "1 entry"
    assert units.plural(2, "entry", "entries") == "2 entries"
