"""Functions for features that change with time alone, and for those that combine two other features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from trimtab.definitions.aggregations import Aggregation, AggregationKind, check_one, made
from trimtab.definitions.arguments import check_name, check_text, duration
from trimtab.definitions.on_demand import OnDemand
from trimtab.errors import DefinitionError


class Named(Protocol):
    """Features of a view by their full names, such as view["count_1d"]."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Full names."""
        ...


Operand: TypeAlias = "Aggregation | Sequence[Aggregation] | Named | str"


def decayed_mean(column: str, *half_lives: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with the mean of a column in which a row's weight halves each half-life; null without values.

    Args:
        column: a numeric column of the view's source.
        half_lives: durations, such as "7d". A row counts until the view's ttl, if there is one.
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one half-life alone.

    Raises:
        DefinitionError: no half-life is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.decayed_mean("amount", "7d")]
    ['amount_decayed_mean_7d']
    """
    return _decayed("decayed_mean", column, half_lives, where=where, name=name)


def decayed_sum(column: str, *half_lives: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with the sum of a column in which a row's weight halves each half-life; null without values.

    Args:
        column: a numeric column of the view's source.
        half_lives: durations, such as "7d". A row counts until the view's ttl, if there is one.
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one half-life alone.

    Raises:
        DefinitionError: no half-life is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.decayed_sum("amount", "7d")]
    ['amount_decayed_sum_7d']
    """
    return _decayed("decayed_sum", column, half_lives, where=where, name=name)


def decayed_count(*half_lives: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with a count of rows in which a row's weight of 1 halves each half-life; 0 without rows.

    Args:
        half_lives: durations, such as "7d". A row counts until the view's ttl, if there is one.
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one half-life alone.

    Raises:
        DefinitionError: no half-life is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.decayed_count("1h")]
    ['decayed_count_1h']
    """
    return _decayed("decayed_count", None, half_lives, where=where, name=name)


def since_last(*, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return a feature with the seconds since the timestamp of the latest row that is known; null without rows.

    In a view with window_by="known_at" it is the time since a row became known.

    Args:
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.since_last(where="amount > 100")]
    ['since_last_where_amount_gt_100']
    """
    return [made("since_last", None, None, where=where, name=name)]


def ratio(a: Operand, b: Operand, *, name: str | None = None) -> Any:
    """Return features that divide one feature by another; null where one is null or the divisor is 0.

    Args:
        a: the dividend: a feature of this view, such as tt.sum("amount", "1d"), or of a view of the same request, such
            as spend["amount_sum_1d"]. Of several features the first goes with the first of `b`, and so on.
        b: the divisor, of the same form.
        name: name of the feature in place of the usual one; for one feature alone.

    Returns:
        Aggregations for features of this view; an on-demand transform for those of other views, to be listed in the
        model.

    Raises:
        DefinitionError: an argument is wrong, or the numbers of features differ.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.ratio(tt.count("1h"), tt.count("1d"))]
    ['count_1h_over_count_1d']
    """
    return _derived("ratio", a, b, name)


def difference(a: Operand, b: Operand, *, name: str | None = None) -> Any:
    """Return features that subtract one feature from another; null where one is null.

    Args:
        a: a feature of this view, such as tt.mean("amount", "1d"), or of a view of the same request, such as
            spend["amount_mean_1d"]. Of several features the first goes with the first of `b`, and so on.
        b: what is subtracted, of the same form.
        name: name of the feature in place of the usual one; for one feature alone.

    Returns:
        Aggregations for features of this view; an on-demand transform for those of other views, to be listed in the
        model.

    Raises:
        DefinitionError: an argument is wrong, or the numbers of features differ.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.difference(tt.mean("x", "1d"), tt.mean("x", "7d"))]
    ['x_mean_1d_minus_x_mean_7d']
    """
    return _derived("difference", a, b, name)


def combined(kind: str, a: Any, b: Any) -> Any:
    """Return a ratio or difference of two float64 arrays, NaN where it is not defined."""
    # imported here: importing a project must not load NumPy
    import numpy as np

    with np.errstate(all="ignore"):
        return a - b if kind == "difference" else np.where(b == 0, np.nan, a / b)


def _decayed(
    kind: AggregationKind, column: str | None, half_lives: Sequence[str], *, where: str | None, name: str | None
) -> list[Aggregation]:
    given = "" if column is None else f"'{column}', "
    if kind != "decayed_count":
        check_text(f"{kind}: column", column, "amount")
    if not half_lives:
        raise DefinitionError(f"{kind} needs at least one half-life, for example {kind}({given}'7d')")
    check_one(kind, name, len(half_lives))
    return [made(kind, column, None, where=where, name=name, arg=duration(kind, each)) for each in half_lives]


def _derived(kind: AggregationKind, a: Operand, b: Operand, name: str | None) -> Any:
    first, second = _operands(kind, a), _operands(kind, b)
    if len(first) != len(second):
        raise DefinitionError(f"{kind} of {len(first)} and {len(second)} features; expected as many of each")
    check_one(kind, name, len(first))
    pairs: list[Any] = [_pair(kind, one, other, name) for one, other in zip(first, second, strict=True)]
    return pairs[0] if isinstance(pairs[0], OnDemand) and len(pairs) == 1 else pairs


def _pair(kind: AggregationKind, a: Aggregation | str, b: Aggregation | str, name: str | None) -> Any:
    if isinstance(a, Aggregation) and isinstance(b, Aggregation):
        return Aggregation(kind, None, None, name_=name, of=(a, b))
    if isinstance(a, Aggregation) or isinstance(b, Aggregation):
        raise DefinitionError(
            f"{kind} of a feature of a view, {a if isinstance(a, str) else b}, and a new aggregation; expected two of "
            "one form, such as view['count_1h'] and view['count_1d']"
        )
    word = "over" if kind == "ratio" else "minus"
    called = name or f"{a}_{word}_{b}".replace("__", "_")
    check_name(kind, called)
    return OnDemand(called, (a, b), (called,), partial(combined, kind), f"trimtab.{kind}")


def _operands(kind: str, given: Operand) -> list[Aggregation | str]:
    if isinstance(given, str):
        return [given]
    items = given if isinstance(given, list | tuple) else [given]
    found: list[Aggregation | str] = []
    for item in items:
        if isinstance(item, Aggregation | str):
            found.append(item)
        elif isinstance(names := getattr(item, "feature_names", None), tuple):
            found.extend(names)
        else:
            text = f"{item!r} is no feature; expected such as tt.count('1d') or view['count_1d']"
            raise DefinitionError(f"{kind}: {text}")
    if not found:
        raise DefinitionError(f"{kind}: no feature is given; expected such as tt.count('1d')")
    return found
