"""What people would say of all turns that a judge has judged, from the turns that people judged too.

Verdicts: post-stratification by the judge's verdict, with draws of Jeffreys' posterior. Scores: PPI++. The turns that
people judged must be drawn at random from those that the judge judged; with verdicts at random for each verdict of the
judge suffices.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.intervals import Interval
from trimtab.stats.paired.pass_rates import one_sided, two_sided
from trimtab.stats.schemes import Floats, as_floats

DRAWS = 4_000
MIN_PPI_LABELS = 200
"""With fewer labels PPI++ misses more often than it says: 8-12 % at 50, 7-8 % at 100, for 5 %."""


def corrected_share(
    judge: npt.ArrayLike,
    person: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return the share that people would pass: q v + (1 - q) w, for a share q that the judge passes.

    v and w are the shares that people pass among those that the judge passes and among those that it fails. Each of q,
    v and w has a posterior Beta(successes + 1/2, failures + 1/2).

    Args:
        judge: verdicts 0 and 1 of the judge, [turns].
        person: verdicts of people on the same turns, NaN where there is none, [turns].
        confidence: of each bound.
        draws: of the posterior, 100 or more.
        seed: of the draws; equal seeds give equal bounds.

    Returns:
        The posterior mean and the quantiles of the draws; `clusters` is the number of turns that people judged.

    Raises:
        DataError: without turns, for arrays of different lengths, for other values, and for settings out of range.

    >>> judge = [1] * 700 + [0] * 300
    >>> person = [1] * 45 + [0] * 5 + [np.nan] * 650 + [1] * 10 + [0] * 40 + [np.nan] * 250
    >>> found = corrected_share(judge, person)
    >>> f"{found.value:.2f} from {found.low:.2f} to {found.high:.2f}"
    '0.69 from 0.62 to 0.74'

    Sources: D. Holt & T. M. F. Smith, Post stratification, JRSS A 142 (1979); L. D. Brown, T. T. Cai & A. DasGupta,
    Interval estimation for a binomial proportion, Statistical Science 16 (2001).
    """
    f, y = _judged([judge], [person], draws)
    cells = f[0].astype(np.int64)
    return _poststratified(cells, 2, y[0], (0.0, 1.0), confidence, draws, seed)


def corrected_difference(
    judges: tuple[npt.ArrayLike, npt.ArrayLike],
    people: tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return the difference of the shares that people would pass, candidate minus champion, on the same turns.

    The turns are stratified by the pair of verdicts. Labels of the champion alone say nothing of how the judge errs on
    the candidate, so a turn counts as labelled only where people judged both answers.

    Args:
        judges: verdicts 0 and 1 on the champion's and on the candidate's answers, each [turns].
        people: verdicts of people on the same answers, NaN where there is none, each [turns].
        confidence: of each bound.
        draws: of the posterior, 100 or more.
        seed: of the draws; equal seeds give equal bounds.

    Returns:
        The posterior mean and the quantiles of the draws; `clusters` is the number of turns that people judged twice.

    Raises:
        DataError: without turns, for arrays of different lengths, for other values, and for settings out of range.

    >>> champion, candidate = [1, 0, 1, 0] * 50, [1, 1, 1, 0] * 50
    >>> people = ([1, 0, 1, 0] * 25 + [np.nan] * 100, [1, 1, 1, 0] * 25 + [np.nan] * 100)
    >>> found = corrected_difference((champion, candidate), people)
    >>> found.clusters, 0.1 < found.low < found.value < found.high < 0.35
    (100, True)
    """
    f, y = _judged(list(judges), list(people), draws)
    cells = (2 * f[0] + f[1]).astype(np.int64)
    return _poststratified(cells, 4, y[1] - y[0], (-1.0, 0.0, 1.0), confidence, draws, seed)


def ppi_mean(
    labels: npt.ArrayLike, judged: npt.ArrayLike, unlabelled: npt.ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Return the mean score that people would give, from few scores of people and many of a judge (PPI++).

    For a difference of two prompts give the differences of people's and of the judge's scores on the same turns.

    Args:
        labels: scores of people, [n]; MIN_PPI_LABELS or more for bounds that hold.
        judged: scores of the judge on the same turns, [n].
        unlabelled: scores of the judge on the other turns, [N].
        confidence: of each bound.

    Returns:
        The mean with normal bounds. lambda, the weight of the judge, is the one of least variance, in [0, 1]: it is 0
        for a judge that knows nothing, and the mean is that of the labels. `clusters` is n.

    Raises:
        DataError: for fewer than two labels, no other turn, arrays of different lengths and values that are not finite.

    >>> people, judge = np.tile([0.2, 0.9, 0.5, 0.4], 50), np.tile([0.3, 0.9, 0.6, 0.5], 50)
    >>> found = ppi_mean(people, judge, np.tile([0.3, 0.9, 0.6, 0.5], 500))
    >>> f"{found.value:.2f} from {found.low:.3f} to {found.high:.3f}"
    '0.50 from 0.491 to 0.509'

    Source: A. N. Angelopoulos, J. C. Duchi & T. Zrnic, PPI++: efficient prediction-powered inference, arXiv 2311.01453
    (2023).
    """
    z = one_sided(confidence)
    y, f, more = (as_floats(x).astype(np.float64).ravel() for x in (labels, judged, unlabelled))
    if y.size < 2 or y.size != f.size or not more.size or not all(np.isfinite(x).all() for x in (y, f, more)):
        raise DataError(
            f"{y.size} labels, {f.size} judged and {more.size} other turns: expected two labels or more, as many "
            "judged, another turn, and finite values"
        )
    n, rest = y.size, more.size
    variance = float(np.concatenate([f, more]).var(ddof=1))
    weight = float(np.cov(y, f)[0, 1]) / ((1 + n / rest) * variance) if variance > 0 else 0.0
    weight = min(max(weight, 0.0), 1.0)
    mean = weight * float(more.mean()) + float((y - weight * f).mean())
    spread = float((y - weight * f).var(ddof=1)) / n
    spread += weight**2 * (float(more.var(ddof=1)) / rest if rest > 1 else 0.0)
    half = z * math.sqrt(spread)
    return Interval(mean, mean - half, mean + half, two_sided(confidence), n)


def _judged(judges: list[npt.ArrayLike], people: list[npt.ArrayLike], draws: int) -> tuple[list[Floats], list[Floats]]:
    f, y = ([as_floats(x).astype(np.float64).ravel() for x in given] for given in (judges, people))
    sizes = {x.size for x in (*f, *y)}
    if len(sizes) != 1 or sizes == {0} or draws < 100:
        raise DataError(
            f"{', '.join(str(x.size) for x in (*f, *y))} verdicts, {draws} draws: expected as many verdicts of each, "
            "one or more, with NaN where people gave none, and 100 draws or more"
        )
    if not all(np.isin(x, (0.0, 1.0)).all() for x in f):
        raise DataError("a judge passes or fails: expected the values 0 and 1 alone; leave out turns without a verdict")
    if not all(np.isin(x[~np.isnan(x)], (0.0, 1.0)).all() for x in y):
        raise DataError("people pass or fail: expected the values 0, 1 and NaN alone")
    return f, y


def _poststratified(
    cells: npt.NDArray[np.int64],
    strata: int,
    outcome: Floats,
    values: tuple[float, ...],
    confidence: float,
    draws: int,
    seed: int,
) -> Interval:
    """Return the mean outcome over strata. outcome: one of `values`, or NaN where people said nothing, [turns]."""
    one_sided(confidence)
    random = np.random.default_rng(seed)
    shares = np.bincount(cells, minlength=strata) + 0.5
    labelled = np.isfinite(outcome)
    counts = np.array([[int((labelled & (cells == s) & (outcome == v)).sum()) for v in values] for s in range(strata)])
    weights = random.dirichlet(shares, draws)
    means = np.stack([random.dirichlet(counts[s] + 0.5, draws) @ np.array(values) for s in range(strata)], axis=1)
    low, high = np.quantile((weights * means).sum(axis=1), (1 - confidence, confidence))
    posterior = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    value = float(shares / shares.sum() @ posterior @ np.array(values))
    return Interval(value, float(low), float(high), two_sided(confidence), int(labelled.sum()))
