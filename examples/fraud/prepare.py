"""Simulates card payments with three fraud schemes and chargebacks that come weeks later. A seed decides every row.

    python prepare.py                      writes data/transactions.parquet, data/outcomes/, data/chargebacks.parquet
    python prepare.py --scenario cents     with another drift: takeover (the usual one), cents, holidays, none

Customers live around five towns and pay at shops near their home and on the internet, more on weekends, in December and
after payday. Fraud comes in three schemes:

- skimming: a shop's terminal copies cards for some days; copies of them pay at other shops within the week
- stolen: a burst of dear purchases within two hours, far from home
- testing: a stolen list of cards is tried with tiny amounts at one internet shop; the cards that work pay once more

A fraud is reported days or weeks later. An outcome is final when the three weeks in which a payment can be disputed are
over; a chargeback that comes even later is a second row, which corrects the first.

Scenarios begin on 1 June: `takeover`, a fourth scheme that looks like the customer but for a new device; `cents`, a
fifth of all terminals send cents in place of dollars; `holidays`, many honest customers pay far from home.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

SEED = 29
FIRST_DAY = np.datetime64("2025-01-01", "us")
DAYS = 258
SCENARIO_DAY = 151
"""The day on which a scenario begins, from 0: 1 June."""
CUSTOMERS, TERMINALS = 800, 300
TOWNS = np.array([[20.0, 25.0], [75.0, 20.0], [50.0, 55.0], [25.0, 80.0], [80.0, 78.0]])
"""Places of the towns, in km."""
CATEGORIES = {
    "grocery": 5411,
    "fuel": 5541,
    "restaurant": 5812,
    "clothing": 5651,
    "electronics": 5732,
    "travel": 4722,
    "online": 5964,
}
"""Kinds of shops, with their merchant category codes (ISO 18245)."""
KINDS = list(CATEGORIES)
SHARES = np.array([0.30, 0.12, 0.18, 0.12, 0.08, 0.05, 0.15])
PRICES = np.array([1.0, 1.3, 0.9, 1.6, 4.0, 6.0, 1.4])
ONLINE = KINDS.index("online")
ELECTRONICS = KINDS.index("electronics")
HOURS = {
    "day": np.array([0.4, 0.2, 0.1, 0.1, 0.2, 0.5, 1.5, 3, 4, 5, 6, 7, 8, 7, 6, 6, 7, 8, 8, 6, 4, 3, 2, 1]),
    "night": np.array([6, 7, 7, 6, 4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 4, 5, 6, 6]),
}
"""Weights of the hours of a day, in UTC."""
DISPUTE_DAYS = 21
SCENARIOS = ("takeover", "cents", "holidays", "none")
SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
COLUMNS = ("at", "customer", "terminal", "amount", "device", "away", "scheme")
"""Columns of payments while they are made. at: microseconds since the first day. device: 1 for one that the customer
has not used before. away: km from home, NaN for the distance of the terminal. scheme: 0 for an honest payment."""
SCHEMES = ("", "skimming", "stolen", "testing", "takeover")

Array = np.ndarray
Payments = dict[str, Array]


@dataclass(frozen=True)
class World:
    """Who pays where. Arrays have one row a customer or a terminal."""

    homes: Array
    spend: Array
    rate: Array
    age: Array
    usual: Array
    """Terminals that each customer knows, shape (customers, 10)."""
    places: Array
    categories: Array
    online: Array
    """Numbers of the terminals on the internet."""


def make_world(rng: np.random.Generator) -> World:
    """Return customers and terminals."""
    towns = rng.integers(0, len(TOWNS), CUSTOMERS)
    homes = TOWNS[towns] + rng.normal(0, 5, (CUSTOMERS, 2))
    categories = rng.choice(len(CATEGORIES), TERMINALS, p=SHARES)
    places = TOWNS[rng.integers(0, len(TOWNS), TERMINALS)] + rng.normal(0, 7, (TERMINALS, 2))
    online = np.flatnonzero(categories == ONLINE)
    near = np.argsort(np.linalg.norm(homes[:, None] - places[None], axis=2) + np.where(categories == ONLINE, 1e6, 0))
    picks = np.argsort(rng.random((CUSTOMERS, 25)), axis=1)[:, :8]
    usual = np.hstack([np.take_along_axis(near, picks, axis=1), rng.choice(online, (CUSTOMERS, 2))])
    return World(
        homes=homes,
        spend=rng.lognormal(3.3, 0.5, CUSTOMERS),
        rate=rng.gamma(4, 0.28, CUSTOMERS),
        age=rng.choice(3, CUSTOMERS, p=[0.25, 0.5, 0.25]),
        usual=usual,
        places=places,
        categories=categories,
        online=online,
    )


def season(days: Array) -> Array:
    """Return how much is paid on days, 1 on a usual one: weekends, paydays, summer, December."""
    dates = FIRST_DAY.astype("datetime64[D]") + days
    weekday = (dates.astype("int64") + 3) % 7
    of_month = (dates - dates.astype("datetime64[M]")).astype("int64")
    month = dates.astype("datetime64[M]").astype("int64") % 12
    return (
        np.where(weekday >= 5, 1.25, 0.95)
        * np.where(of_month < 4, 1.15, 1.0)
        * np.where((month == 6) | (month == 7), 1.08, 1.0)
        * np.where(month == 11, 1.3, 1.0)
    )


def times(rng: np.random.Generator, days: Array, hours: str = "day") -> Array:
    """Return a time on each day, in microseconds since the first day."""
    weights = HOURS[hours] / HOURS[hours].sum()
    return days * DAY + rng.choice(24, len(days), p=weights) * HOUR + rng.integers(0, HOUR, len(days))


def amounts(rng: np.random.Generator, world: World, customers: Array, terminals: Array) -> Array:
    """Return what customers pay at terminals, in dollars."""
    usual = world.spend[customers] * PRICES[world.categories[terminals]]
    return usual * rng.lognormal(-0.18, 0.6, len(customers))


def payments(at: Array, customers: Array, terminals: Array, amount: Array, scheme: int, **given: Array) -> Payments:
    """Return payments as columns, with what is usual for the columns that are not given."""
    size = len(at)
    made = {"device": np.zeros(size), "away": np.full(size, np.nan), "scheme": np.full(size, scheme), **given}
    return {"at": at, "customer": customers, "terminal": terminals, "amount": amount, **made}


def honest(rng: np.random.Generator, world: World, scenario: str) -> Payments:
    """Return the payments of customers."""
    counts = rng.poisson(world.rate[:, None] * season(np.arange(DAYS))[None])
    customers, days = np.divmod(np.repeat(np.arange(CUSTOMERS * DAYS), counts.ravel()), DAYS)
    terminals = world.usual[customers, rng.integers(0, world.usual.shape[1], len(customers))]
    elsewhere = rng.random(len(customers)) < 0.07
    terminals = np.where(elsewhere, rng.integers(0, TERMINALS, len(customers)), terminals)
    away = np.full(len(customers), np.nan)
    if scenario == "holidays":
        travelling = (days >= SCENARIO_DAY) & (rng.random(CUSTOMERS)[customers] < 0.35)
        away[travelling] = rng.gamma(4, 60, travelling.sum())
    return payments(
        times(rng, days),
        customers,
        terminals,
        amounts(rng, world, customers, terminals),
        0,
        device=(rng.random(len(customers)) < 0.04).astype(float),
        away=away,
    )


def skimming(rng: np.random.Generator, world: World, normal: Payments) -> Payments:
    """Return what copies of cards pay that were used at a terminal while it copied them."""
    found = []
    for first in np.arange(2, DAYS - 12, 2.5):
        terminal = rng.choice(np.flatnonzero(world.categories != ONLINE))
        begin = int(first * DAY)
        used = (normal["terminal"] == terminal) & (normal["at"] >= begin) & (normal["at"] < begin + 9 * DAY)
        copied = np.flatnonzero(used)
        copied = copied[rng.random(len(copied)) < 0.4]
        owners = np.repeat(copied, rng.integers(1, 3, len(copied)))
        customers = normal["customer"][owners]
        at = normal["at"][owners] + rng.integers(6 * HOUR, 6 * DAY, len(owners))
        shops = rng.integers(0, TERMINALS, len(owners))
        found.append(payments(at, customers, shops, 1.8 * amounts(rng, world, customers, shops), 1))
    return joined(found)


def stolen(rng: np.random.Generator, world: World) -> Payments:
    """Return bursts of dear purchases with stolen cards, far from home."""
    found = []
    dear = np.flatnonzero(np.isin(world.categories, [ELECTRONICS, ONLINE, KINDS.index("clothing")]))
    for day in np.repeat(np.arange(DAYS), rng.poisson(0.8, DAYS)):
        size = int(rng.integers(3, 9))
        customers = np.full(size, rng.integers(0, CUSTOMERS))
        shops = rng.choice(dear, size)
        at = times(rng, np.array([day])) + np.sort(rng.integers(0, 2 * HOUR, size))
        far = rng.gamma(5, 14, 1) + rng.normal(0, 3, size)
        amount = 2.2 * amounts(rng, world, customers, shops)
        found.append(payments(at, customers, shops, amount, 2, away=np.abs(far), device=np.ones(size)))
    return joined(found)


def testing(rng: np.random.Generator, world: World) -> Payments:
    """Return tiny payments with many cards at one internet shop, and one large payment with those that work."""
    found = []
    for day in np.flatnonzero(rng.random(DAYS) < 0.22):
        size = int(rng.integers(12, 30))
        customers = rng.choice(CUSTOMERS, size, replace=False)
        shop = np.full(size, rng.choice(world.online))
        at = times(rng, np.array([day]), "night") + np.sort(rng.integers(0, 25 * MINUTE, size))
        found.append(payments(at, customers, shop, rng.uniform(0.2, 1.9, size), 3, device=np.ones(size)))
        works = rng.random(size) < 0.5
        shops = rng.choice(world.online, works.sum())
        later = at[works] + rng.integers(20 * MINUTE, 10 * HOUR, works.sum())
        amount = 3.0 * amounts(rng, world, customers[works], shops)
        found.append(payments(later, customers[works], shops, amount, 3, device=np.ones(works.sum())))
    return joined(found)


def takeover(rng: np.random.Generator, world: World) -> Payments:
    """Return what is paid from accounts that were taken over: usual amounts at usual shops, but from a new device."""
    day = np.arange(SCENARIO_DAY, DAYS)
    days = np.repeat(day, rng.poisson(np.minimum(2 + (day - SCENARIO_DAY) / 6, 5)))
    sizes = rng.integers(2, 6, len(days))
    customers = np.repeat(rng.integers(0, CUSTOMERS, len(days)), sizes)
    at = np.repeat(times(rng, days), sizes) + rng.integers(0, 36 * HOUR, len(customers))
    shops = world.usual[customers, rng.integers(0, world.usual.shape[1], len(customers))]
    amount = 1.3 * amounts(rng, world, customers, shops)
    return payments(at, customers, shops, amount, 4, device=np.ones(len(customers)))


def joined(parts: list[Payments]) -> Payments:
    """Return payments of several parts as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def simulate(scenario: str, seed: int = SEED) -> pl.DataFrame:
    """Return all payments in order of time, with the scheme of each fraud and the time at which it was reported."""
    rng = np.random.default_rng(seed)
    world = make_world(rng)
    normal = honest(rng, world, scenario)
    parts = [normal, skimming(rng, world, normal), stolen(rng, world), testing(rng, world)]
    if scenario == "takeover":
        parts.append(takeover(rng, world))
    made = joined(parts)
    order = np.argsort(made["at"], kind="stable")
    order = order[(made["at"][order] >= 0) & (made["at"][order] < DAYS * DAY)]
    made = {name: values[order] for name, values in made.items()}
    size, terminal, customer = len(order), made["terminal"], made["customer"]
    online = world.categories[terminal] == ONLINE
    distance = np.linalg.norm(world.homes[customer] - world.places[terminal], axis=1)
    distance = np.where(np.isnan(made["away"]), distance, made["away"])
    amount = np.maximum(np.round(made["amount"], 2), 0.01)
    if scenario == "cents":
        wrong = (rng.random(TERMINALS) < 0.2)[terminal] & (made["at"] >= SCENARIO_DAY * DAY)
        amount = np.where(wrong, np.round(amount * 100), amount)
    at = FIRST_DAY + made["at"].astype("timedelta64[us]")
    # a payment becomes known a moment after it was asked for: it belongs to the history of the next one, not to its own
    posted = at + rng.integers(SECOND // 5, 2 * SECOND, size).astype("timedelta64[us]")
    reported = at + (rng.lognormal(2.1, 0.55, size) * DAY).astype("timedelta64[us]")
    frame = pl.DataFrame(
        {
            "transaction": [f"t{n:07d}" for n in range(size)],
            "authorised_at": at,
            "posted_at": posted,
            "card": [f"c{n:05d}" for n in customer],
            "terminal": [f"p{n:04d}" for n in terminal],
            "mcc": np.array(list(CATEGORIES.values()))[world.categories[terminal]],
            "amount": amount,
            "distance_km": np.where(online, np.nan, np.round(distance, 1)),
            "new_device": made["device"],
            "age_group": np.array(["under 30", "30 to 60", "over 60"])[world.age[customer]],
            "scheme": np.array(SCHEMES)[made["scheme"].astype(int)],
            "reported_at": reported,
        }
    )
    fraud = pl.col("scheme") != ""
    return frame.with_columns(
        pl.col("authorised_at", "posted_at", "reported_at").dt.replace_time_zone("UTC"),
        distance_km=pl.col("distance_km").fill_nan(None),
    ).with_columns(reported_at=pl.when(fraud).then("reported_at"))


def outcomes(rows: pl.DataFrame) -> pl.DataFrame:
    """Return what became of each payment when it could no longer be disputed, and later corrections, by time."""
    settled = pl.col("authorised_at") + pl.duration(days=DISPUTE_DAYS)
    in_time = pl.col("reported_at") <= settled
    late = rows.filter(~in_time).with_columns(settled_at=pl.col("reported_at"), fraud=pl.lit(1.0))
    first = rows.with_columns(settled_at=settled, fraud=in_time.fill_null(value=False).cast(pl.Float64))
    return pl.concat([first, late]).drop("reported_at", "posted_at").sort("settled_at", "transaction")


def write(folder: Path, scenario: str) -> None:
    """Write the Parquet files: payments, outcomes by the month in which they became final, and chargebacks."""
    rows = simulate(scenario)
    final = outcomes(rows).with_columns(month=pl.col("settled_at").dt.strftime("%Y-%m"))
    chargebacks = rows.filter(pl.col("reported_at").is_not_null()).sort("reported_at")
    draft = folder.with_name(folder.name + ".draft")  # renamed when it is complete
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "outcomes").mkdir(parents=True)
    rows.drop("scheme", "reported_at").write_parquet(draft / "transactions.parquet")
    for (month,), part in final.partition_by("month", as_dict=True, include_key=False).items():
        part.write_parquet(draft / "outcomes" / f"{month}.parquet")
    chargebacks.select("transaction", "reported_at", "card", "terminal", "amount").write_parquet(
        draft / "chargebacks.parquet"
    )
    draft.rename(folder)
    print(f"{rows.height:,} payments, {chargebacks.height:,} of them fraud (scenario: {scenario}): {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenario", choices=SCENARIOS, help="takeover by default")
    parser.add_argument("--into", type=Path, default=Path(__file__).resolve().parent / "data")
    given = parser.parse_args()
    if not given.into.is_dir() or not any(given.into.iterdir()):
        write(given.into, given.scenario or "takeover")
    elif given.scenario is None:
        print(f"kept as it is: {given.into}; remove it to make the data again")
    else:
        sys.exit(f"--scenario {given.scenario}: {given.into} has data already; remove it first, or name another --into")
