"""Distances and scores: equal to the formulas written as plain loops, blind to the order of windows and to traffic."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from trimtab.stats.distance import pit_means
from trimtab.stats.profile import ColumnProfile, profile
from trimtab.stats.schemes import ABOVE, BELOW, Bins, CategoryBins, NumericBins
from trimtab.stats.score import leave_one_out_z, score
from trimtab.stats.size import SizeEffect
from trimtab.stats.window_pool import WindowPool

WINDOWS = 12


def filled(order: list[int] | None = None) -> WindowPool:
    """Twelve windows of two ordered columns and a category, with missing and gross values and odd sizes."""
    random = np.random.default_rng(5)
    schemes: dict[str, Bins] = {
        "kind": CategoryBins.from_reference(["a"] * 6 + ["b"] * 3 + ["c"]),
        "x": NumericBins.from_reference(random.normal(size=500)),
        "steps": NumericBins.from_reference(random.integers(0, 4, 500)),
    }
    windows: list[dict[str, ColumnProfile]] = []
    for number in range(WINDOWS):
        rows = 40 + 7 * number
        x = random.normal(size=rows)
        x[:number] = np.nan
        x[-1] = 1e6 if number == 3 else 0.0
        names = random.choice(["a", "b", "c", "new" if number == 5 else "a"], rows)
        values = {"x": x, "steps": random.integers(0, 4, rows), "kind": names}
        windows.append({name: profile(values[name], bins) for name, bins in schemes.items()})
    table = WindowPool(schemes)
    for number in order or range(WINDOWS):
        table.append(table.encode(windows[number]))
    return table


def counts_of(table: WindowPool) -> np.ndarray:
    """Counts [windows, columns, slots], taken apart again."""
    cells = table.cells()
    shares = np.concatenate([np.diff(cells.ordered, axis=0, prepend=0), cells.category], axis=1)
    return np.rint(shares * cells.rows).T


def test_scores_equal_the_formulas() -> None:
    table = filled()
    effect = SizeEffect.fit(table.cells(), seed=0)
    counts, found = counts_of(table), score(table.cells(), effect)
    assert table.names == ("x", "steps", "kind")
    everything = counts.sum(axis=0)
    for i in range(WINDOWS):
        n = counts[i, 0].sum()
        others = np.delete(counts, i, axis=0).sum(axis=0)
        for column in range(3):
            q, p, all_shares = counts[i, column] / n, others[column] / others[column].sum(), everything[column]
            if column < 2:
                distance = max(abs(q[: b + 1].sum() - p[: b + 1].sum()) for b in range(35))
                gross, usual = q[BELOW] + q[ABOVE], (all_shares[BELOW] + all_shares[ABOVE]) / all_shares.sum()
            else:
                distance = max(abs(q[b] - p[b]) / math.sqrt(p[b] + 1 / n) for b in range(35))
                gross, usual = q[BELOW], all_shares[BELOW] / all_shares.sum()
            typical = math.sqrt(effect.sampling[column] / n + effect.between[column])
            s = math.log(distance + 0.5 / math.sqrt(n)) - math.log(typical + 0.5 / math.sqrt(n))
            assert found.distance[i, column] == pytest.approx(s)
            assert found.distance[i, 3 + column] == pytest.approx(math.log(gross + 3 / n) - math.log(usual + 3 / n))


def test_z_scores_leave_their_own_window_out() -> None:
    values = np.random.default_rng(0).normal(size=(9, 2)) * [1, 0.01]
    found = leave_one_out_z(values)
    for i in range(9):
        others = np.delete(values, i, axis=0)
        sd = np.maximum(others.std(axis=0, ddof=1), 0.2)
        assert found[i] == pytest.approx((values[i] - others.mean(axis=0)) / sd)


def test_the_window_score_is_the_largest_z() -> None:
    cells = filled().cells()
    found = score(cells, SizeEffect.fit(cells, seed=0))
    assert found.largest == pytest.approx(leave_one_out_z(found.distance).max(axis=1))


def test_mean_pit_equals_the_mid_ranks_of_bins() -> None:
    table = filled()
    counts = counts_of(table)[:, :2, 1:]
    pooled = counts.sum(axis=0)
    shares = pooled / pooled.sum(axis=1, keepdims=True)
    middle = shares.cumsum(axis=1) - shares / 2
    rows = counts.sum(axis=2)
    mean, spread = ((counts * weights).sum(axis=2) / rows for weights in (middle, np.abs(middle - 0.5)))
    assert pit_means(table.cells().ordered, table.cells().total_shares()[0]) == pytest.approx(
        np.concatenate([mean, spread], axis=1)
    )


def test_a_window_without_values_is_neutral() -> None:
    ordered = np.zeros((35, 1, 3))
    ordered[..., :2] = np.arange(35)[:, None, None] / 34
    assert pit_means(ordered, ordered.sum(axis=2))[2] == pytest.approx([0.5, 0.25])


def test_windows_of_equal_counts_tie_exactly_wherever_they_stand() -> None:
    # a rank test breaks ties at random, so rounding must not break them by the place of a window
    random = np.random.default_rng(3)
    counts = random.integers(0, 50, (35, 6, 1)).repeat(151, axis=2)
    counts[:, :, 60:80] = random.integers(0, 50, (35, 6, 20))
    shares = counts.cumsum(axis=0) / counts.sum(axis=0)
    same = np.delete(pit_means(shares, counts.cumsum(axis=0).sum(axis=2)), np.s_[60:80], axis=0)
    assert (same == same[0]).all()


def test_scores_do_not_depend_on_the_order_of_windows() -> None:
    order = [int(place) for place in np.random.default_rng(1).permutation(WINDOWS)]
    effect = SizeEffect.fit(filled().cells(), seed=0)
    straight, shuffled = score(filled().cells(), effect), score(filled(order).cells(), effect)
    for ours, theirs in zip(straight, shuffled, strict=True):
        assert theirs == pytest.approx(ours[order])


def test_chance_alone_is_found_from_the_pool() -> None:
    # given windows that differ by chance alone: nothing is between them, D sqrt(n) has nearly Kolmogorov's median
    random = np.random.default_rng(2)
    bins = NumericBins.from_reference(random.normal(size=50_000))
    table = WindowPool({"x": bins})
    for rows in (400, 1_600) * 40:
        table.append(table.encode({"x": profile(random.normal(size=rows), bins)}))
    effect = SizeEffect.fit(table.cells(), seed=0)
    assert 0.68 < math.sqrt(effect.sampling[0]) < 0.828  # 32 bins miss a little of the largest difference
    assert effect.between[0] < 0.3 * effect.sampling[0] / 1_600
    assert effect.signed_sampling[0] == pytest.approx(1 / 12, rel=0.01)
    # then scores and signed statistics of small and large windows are alike, although their distances are not
    found = score(table.cells(), effect)
    for values in (found.distance[:, 0], found.signed[:, 0]):
        small, large = values[::2], values[1::2]
        assert abs(small.mean() - large.mean()) < 4 * math.sqrt(2 / 40) * values.std()
        assert small.std() == pytest.approx(large.std(), rel=0.45)


def test_a_size_effect_survives_json() -> None:
    cells = filled().cells()
    effect = SizeEffect.fit(cells, seed=0)
    again = SizeEffect.from_state(json.loads(json.dumps(effect.state())))
    assert all((a == b).all() for a, b in zip(score(cells, effect), score(cells, again), strict=True))
