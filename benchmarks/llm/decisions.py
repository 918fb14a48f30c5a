"""`python -m benchmarks.llm.decisions [--repetitions N] [--only PART]`: how often decisions on prompts are wrong.

Parts: `live` (figure 5: challengers that are no better, looked at every 100 conversations, beside a z test that is
looked at as often and beside one t-test on sessions), `users`, `windows` (why the rule of models does not serve sticky
users), `gate`, `bounds`, `judge`. 2,000 repetitions take about 2 minutes of one core. Exit code 1 when live evidence
promotes what is no better in more than 5 %, plus 1 % for the number of repetitions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats as scipy_stats

from trimtab.stats.intervals import cluster_interval, wilson
from trimtab.stats.live.conversation_evidence import ConversationEvidence
from trimtab.stats.live.user_evidence import UserPairEvidence
from trimtab.stats.paired.agreement import kappa
from trimtab.stats.paired.betting import betting_bound
from trimtab.stats.paired.clustered import clustered_mean
from trimtab.stats.paired.corrected import corrected_share, ppi_mean
from trimtab.stats.paired.pass_rates import bonett_price
from trimtab.stats.paired.smallest_effects import (
    smallest_effect_passes,
    smallest_effect_scores,
    smallest_effect_unpaired,
    smallest_margin_passes,
)
from trimtab.stats.paired_sequence import paired_bounds
from trimtab.stats.schemes import Floats, Ints
from trimtab.stats.smallest import Bools

REPETITIONS, SEED = 2_000, 1_000
CONVERSATIONS, LOOK = 40_000, 100
LIMIT, SLACK = 0.05, 0.01
SESSIONS = 12
"""Of the t-test of MLflow's recipe for comparing two prompts."""
RATE = 0.05
BETTER = (0.025, 0.035, 0.04)
SHARES = (0.5, 0.1)


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llm.decisions")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="experiments a cell")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", choices=sorted(PARTS), help="one part")
    given = parser.parse_args()
    worst = 0.0
    for name, part in PARTS.items():
        if given.only in (None, name):
            worst = max(worst, part(np.random.default_rng(given.seed), given.repetitions))
    return 0 if worst <= LIMIT + SLACK else 1


def live(random: np.random.Generator, repetitions: int) -> float:
    """Figure 5. Half of the traffic, 40,000 conversations; heavy users with rates of their own; a rate that swings."""
    print(f"live: {repetitions:,} experiments without a difference, up to {CONVERSATIONS:,} conversations each")
    rules = ("promoted by evidence", "taken back by evidence", "z test at every look", "one t-test on 12 sessions")
    counts = np.zeros(len(rules))
    for _ in range(repetitions):
        in_challenger = random.random(CONVERSATIONS) < 0.5
        bad = random.random(CONVERSATIONS) < _rates(random, CONVERSATIONS)
        verdict = _verdict(in_challenger, bad, 0.5)[0]
        peeking = bool((_z_at_looks(in_challenger, bad) > scipy_stats.norm.isf(LIMIT)).any())
        counts += [verdict == "promote", verdict == "harm", peeking, _t_once(in_challenger, bad)]
    for rule, count in zip(rules, counts, strict=True):
        print(f"  {rule:<26} {_percent(count, repetitions)}")
    few = max(repetitions // 5, 50)
    print(
        f"  conversations until the verdict (median of {few:,}; share with one within {CONVERSATIONS:,}), rate {RATE}"
    )
    for share in SHARES:
        for rate in BETTER:
            after, promoted, once = [], 0, 0
            for _ in range(few):
                in_challenger = random.random(CONVERSATIONS) < share
                bad = random.random(CONVERSATIONS) < np.where(in_challenger, rate, RATE)
                verdict, at = _verdict(in_challenger, bad, share)
                promoted += verdict == "promote"
                after.append(at)
                once += _t_once(in_challenger, bad)
            print(
                f"    to {rate:<6} {share:>4.0%} of the traffic: {np.median(after):>8,.0f}  ({promoted / few:.0%}); "
                f"t-test on 12 sessions finds it in {once / few:.0%}"
            )
    return float(counts[0]) / repetitions


def users(random: np.random.Generator, repetitions: int) -> float:
    """Split by user: pairs of users with 20 ratings each, who differ."""
    few = max(repetitions // 4, 50)
    print(f"users: pairs of users with 20 ratings, {few:,} experiments of 1,000 pairs")
    false = 0.0
    for rate in (0.1, 0.07, 0.05):
        verdicts, after = [], []
        for _ in range(few):
            evidence = UserPairEvidence()
            evidence.add(_users(random, 0.1, 1_000), _users(random, rate, 1_000))
            verdicts.append(evidence.verdict)
            after.append(evidence.decided_after or np.inf)
        share = verdicts.count("promote") / few
        false = share if rate == 0.1 else false
        pairs = f", after {np.median(after):,.0f} pairs in the median" if rate < 0.1 else ""
        print(f"  .10 to {rate:<5} promoted in {share:.1%}{pairs}")
    return false


def windows(random: np.random.Generator, repetitions: int) -> float:
    """The comparison rule on windows of a split whose users stay: no difference, 60 windows."""
    few = max(repetitions // 5, 50)
    print(f"windows: the rule of models on a split by sticky users, {few:,} experiments without a difference")
    for users_an_arm, icc in ((60, 0.1), (300, 0.1), (60, 0.02), (300, 0.02)):
        level = (1 - icc) / icc
        promoted = 0
        for _ in range(few):
            rates = random.beta(0.1 * level, 0.9 * level, (2, users_an_arm, 1))
            shown = random.binomial(3, np.broadcast_to(rates, (2, users_an_arm, 60))).mean(axis=1) / 3
            x = shown[0] - shown[1]
            promoted += any(x[:n].mean() > 0 and paired_bounds(x[:n], held_out=0)[0] > 0 for n in range(20, 61))
        print(f"  {users_an_arm:>3} users an arm, ICC {icc:<5} promoted in {promoted / few:.1%}")
    return 0.0


def gate(random: np.random.Generator, repetitions: int) -> float:
    """The gate of a set of examples: regressions that it misses, and equal prompts that it refuses."""
    print("gate: not worse by the margin that the set shows (15 points at most), lower bound of Bonett and Price")
    print("  items  differ  margin   equal refused   missed, worse by 5 / 10 / 15 / 20 points")
    for n in (50, 200, 1_000):
        for differing in (0.1, 0.2, 0.3):
            margin = min(smallest_margin_passes(n, differing), 0.15)
            cells = []
            for worse in (0.0, 0.05, 0.10, 0.15, 0.20):
                share = max(differing, worse)
                lost = (share + worse) / 2
                drawn = random.multinomial(n, [share - lost, lost, 1 - share], size=repetitions)
                passed = np.mean([bonett_price(n, int(b), int(c)).low > -margin for b, c, _ in drawn])
                cells.append(passed)
            missed = " / ".join(f"{each:.0%}" for each in cells[1:])
            print(f"  {n:>5}  {differing:>6}  {margin:>6.1%}  {1 - cells[0]:>14.0%}   {missed}")
    print("  smallest difference found with power .8, in points; items that differ .05 / .1 / .2 / .3; unpaired at .8")
    for n in (50, 200, 1_000):
        found = (smallest_effect_passes(n, differing) for differing in (0.05, 0.1, 0.2, 0.3))
        points = "  ".join("none" if each is None else f"{100 * each:4.1f}" for each in found)
        scores = "  ".join(f"{smallest_effect_scores(n, sd):.3f}" for sd in (0.1, 0.2, 0.3))
        print(f"  {n:>5}  {points}   {100 * smallest_effect_unpaired(n, 0.8):4.1f}   scores, sd .1 / .2 / .3: {scores}")
    return 0.0


def bounds(random: np.random.Generator, repetitions: int) -> float:
    """How often one-sided bounds of 95 % miss."""
    few = max(repetitions // 4, 50)
    print("bounds: how often lower bounds of 95 % miss")
    for n in (50, 200):
        for gained, lost in ((0.02, 0.02), (0.1, 0.1), (0.25, 0.05)):
            drawn = random.multinomial(n, [gained, lost, 1 - gained - lost], size=repetitions)
            found = np.mean([bonett_price(n, int(b), int(c)).low > gained - lost for b, c, _ in drawn])
            print(f"  Bonett-Price, {n} items, {gained} gained, {lost} lost: {found:.1%}")
    for clusters in (10, 20, 50):
        place = np.repeat(np.arange(clusters), 5)
        missed = np.zeros(3)
        for _ in range(few):
            d = random.normal(size=clusters).repeat(5) + random.normal(size=place.size)
            own = cluster_interval(_mean_of(d), d.size, clusters=place, confidence=0.9, resamples=500)
            missed += [clustered_mean(d, place).low > 0, own.low > 0, clustered_mean(d).low > 0]
        print(
            f"  {clusters} clusters of 5: {_percents(missed, few)} (t of clusters / bootstrap of clusters / t of items)"
        )
    for n in (50, 200):
        missed = np.zeros(2)
        widths = []
        for _ in range(few):
            d = np.where(random.random(n) < 0.03, -1.0, 0.03 / 0.97)
            missed += [clustered_mean(d).low > 0, betting_bound(d).low > 0]
            d = np.clip(random.normal(0, 0.3, n), -1, 1)
            exact, t = betting_bound(d), clustered_mean(d)
            widths.append((exact.value - exact.low) / (t.value - t.low))
        print(
            f"  rare large losses, {n} items: {_percents(missed, few)} (t / betting); betting is {np.mean(widths):.1f} "
            "times as wide on ordinary scores"
        )
    return 0.0


def judge(random: np.random.Generator, repetitions: int) -> float:
    """Judges against people: corrections and agreement."""
    few = max(repetitions // 5, 50)
    print(
        "judge: 1,000 turns judged, rate .8; missed below / above by 90 % intervals, half width, that of labels alone"
    )
    for labels in (50, 100, 200):
        for sensitivity, specificity in ((0.9, 0.7), (0.97, 0.9), (0.8, 0.4)):
            missed, half, alone = np.zeros(2), [], []
            for seed in range(few):
                true = (random.random(1_000) < 0.8).astype(float)
                said = (random.random(1_000) < np.where(true == 1, sensitivity, 1 - specificity)).astype(float)
                known = np.where(np.arange(1_000) < labels, true, np.nan)
                found = corrected_share(said, known, seed=seed)
                missed += [found.low > 0.8, found.high < 0.8]
                half.append((found.high - found.low) / 2)
                plain = wilson(int(true[:labels].sum()), labels, confidence=0.9)
                alone.append((plain.high - plain.low) / 2)
            print(
                f"  {labels:>3} labels, sensitivity {sensitivity}, specificity {specificity}: "
                f"{_percents(missed, few)}, {np.mean(half):.3f} instead of {np.mean(alone):.3f}"
            )
    for labels in (50, 100, 200, 400):
        missed = np.zeros(2)
        for _ in range(few):
            people = random.beta(4, 2, labels + 1_000)
            said = np.clip(people + 0.1 + 0.15 * random.normal(size=people.size), 0, 1)
            found = ppi_mean(people[:labels], said[:labels], said[labels:])
            missed += [found.low > 4 / 6, found.high < 4 / 6]
        print(f"  PPI++ of scores, {labels} labels: {_percents(missed, few)}")
    for n in (50, 100, 200):
        widths = []
        for seed in range(min(few, 200)):
            true = (random.random(n) < 0.67).astype(float)
            said = (random.random(n) < np.where(true == 1, 0.9, 0.3)).astype(float)
            found = kappa(said, true, seed=seed)
            widths.append((found.high - found.low) / 2)
        print(f"  kappa of {n} labels: half width {np.mean(widths):.2f}")
    return 0.0


def _rates(random: np.random.Generator, conversations: int) -> Floats:
    """Return the rate of each conversation: of its user, of whom few are heavy, and of the time of day."""
    weights = random.pareto(1.2, 400) + 0.1
    user = random.choice(400, conversations, p=weights / weights.sum())
    own = random.beta(1, 1 / RATE - 1, 400)[user]
    swing = 1 + 0.8 * np.sin(2 * np.pi * np.arange(conversations) / 4_000)
    return np.clip(own * swing, 0, 1)


def _verdict(in_challenger: Bools, bad: Bools, share: float) -> tuple[str, float]:
    """Return the verdict of the evidence, and after how many conversations it came."""
    places = np.flatnonzero(bad)
    evidence = ConversationEvidence()
    evidence.add(in_challenger[places], np.full(places.size, share))
    after = places[evidence.decided_after - 1] + 1 if evidence.decided_after else np.inf
    return evidence.verdict, float(after)


def _z_at_looks(in_challenger: Bools, bad: Bools) -> Floats:
    """Return the z of "the challenger has fewer bad conversations" at each look."""
    ends = np.arange(LOOK - 1, in_challenger.size, LOOK)
    n = np.stack([np.cumsum(~in_challenger)[ends], np.cumsum(in_challenger)[ends]]).astype(float)
    k = np.stack([np.cumsum(bad & ~in_challenger)[ends], np.cumsum(bad & in_challenger)[ends]])
    pooled = k.sum(axis=0) / n.sum(axis=0)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n).sum(axis=0))
    z: Floats = np.divide(k[0] / n[0] - k[1] / n[1], error, out=np.zeros_like(error), where=error > 0)
    return z


def _t_once(in_challenger: Bools, bad: Bools) -> bool:
    """Return True if one t-test on the first sessions of both finds fewer bad ones in the challenger."""
    sides = [bad[in_challenger == side][: SESSIONS // 2].astype(float) for side in (False, True)]
    if all(side.std() == 0 for side in sides):
        return False
    return bool(scipy_stats.ttest_ind(*sides, alternative="greater").pvalue < LIMIT)


def _mean_of(values: Floats) -> Callable[[Ints], float]:
    return lambda rows: float(values[rows].mean())


def _users(random: np.random.Generator, rate: float, n: int) -> Floats:
    shares: Floats = random.binomial(20, random.beta(rate * 9, (1 - rate) * 9, n)) / 20
    return shares


def _percent(count: float, of: int) -> str:
    share = count / of
    return f"{share:.1%} +- {1.96 * (share * (1 - share) / of) ** 0.5:.1%}"


def _percents(counts: Sequence[float] | Floats, of: int) -> str:
    return " / ".join(f"{count / of:.1%}" for count in counts)


PARTS: dict[str, Callable[[np.random.Generator, int], float]] = {
    "live": live, "users": users, "windows": windows, "gate": gate, "bounds": bounds, "judge": judge,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
