"""Card payments of the same published description as the Fraud Detection Handbook's, for machines without its data.

Source of the description: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card Fraud
Detection: Practical Handbook" (2022), chapter 3. Written from that description; figures measured on this data are not
figures on the published data.

    python benchmarks/handbook_like.py --days 129 --seed 0 --out payments.parquet --features features.parquet

The features are made here with pandas alone, so that an engine that reproduces them was checked from outside.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FIRST_DAY = np.datetime64("2018-04-01", "ns")
CUSTOMERS, TERMINALS = 5_000, 10_000
SQUARE_SIDE = 100.0
RADIUS = 5.0
DAY_SECONDS = 86_400
DELAY_DAYS = 7
WINDOWS_DAYS = (1, 7, 30)


def simulate(*, customers: int = CUSTOMERS, terminals: int = TERMINALS, days: int, seed: int) -> pd.DataFrame:
    """All payments of `days` days in time order, frauds included; about 1.94 payments per customer and day.

    Below full size the square shrinks, and fewer are compromised a day, so that density and fraud rate stay.

    >>> rows = simulate(customers=50, terminals=100, days=3, seed=0)
    >>> list(rows.columns[:4])
    ['TRANSACTION_ID', 'TX_DATETIME', 'CUSTOMER_ID', 'TERMINAL_ID']
    """
    rng = np.random.default_rng(seed)
    near = terminals_near(rng, customers, terminals)
    customer, day, second, amount = ordinary_payments(rng, customers, days)
    reachable = np.array([len(n) for n in near])[customer] > 0
    customer, day, second, amount = (column[reachable] for column in (customer, day, second, amount))
    rows = pd.DataFrame({"CUSTOMER_ID": customer, "TERMINAL_ID": visited(rng, near, customer), "TX_AMOUNT": amount})
    rows["TX_TIME_SECONDS"] = day * DAY_SECONDS + second
    rows["TX_TIME_DAYS"] = day
    rows = rows.sort_values("TX_TIME_SECONDS", kind="stable", ignore_index=True)
    rows.insert(0, "TRANSACTION_ID", np.arange(len(rows)))
    rows.insert(1, "TX_DATETIME", FIRST_DAY + rows.TX_TIME_SECONDS.to_numpy().astype("timedelta64[s]"))
    return with_frauds(rng, rows, customers=customers, terminals=terminals, days=days)


def terminals_near(rng: np.random.Generator, customers: int, terminals: int) -> list[NDArray[np.int64]]:
    """For each customer the terminals within the radius; both lie uniformly on the square."""
    side = SQUARE_SIDE * np.sqrt(terminals / TERMINALS)
    home, shop = rng.uniform(0, side, (customers, 2)), rng.uniform(0, side, (terminals, 2))
    return [np.flatnonzero(((shop - place) ** 2).sum(1) < RADIUS**2) for place in home]


def ordinary_payments(rng: np.random.Generator, customers: int, days: int) -> tuple[NDArray[np.int64], ...]:
    """Customer, day, second of the day and amount of each payment; times outside their day are dropped."""
    mean, rate = rng.uniform(5, 100, customers), rng.uniform(0, 4, customers)
    count = rng.poisson(rate[:, None], (customers, days))
    customer, day = (np.repeat(axis.ravel(), count.ravel()) for axis in np.indices(count.shape))
    second = rng.normal(DAY_SECONDS / 2, 20_000, len(customer)).astype(np.int64)
    usual = mean[customer]
    amount = rng.normal(usual, usual / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * usual), amount).round(2)
    kept = (second > 0) & (second < DAY_SECONDS)
    return customer[kept], day[kept], second[kept], amount[kept]


def visited(rng: np.random.Generator, near: list[NDArray[np.int64]], customer: NDArray[np.int64]) -> NDArray[np.int64]:
    """One of the customer's terminals for each payment, all equally likely."""
    size = np.array([len(n) for n in near])
    first = np.cumsum(size) - size
    return np.concatenate(near)[first[customer] + rng.integers(0, size[customer])]


def with_frauds(
    rng: np.random.Generator, rows: pd.DataFrame, *, customers: int, terminals: int, days: int
) -> pd.DataFrame:
    """The three scenarios, each over the one before: large amounts, compromised terminals, compromised customers."""
    amount, day = rows.TX_AMOUNT.to_numpy().copy(), rows.TX_TIME_DAYS.to_numpy()
    scenario = np.where(amount > 220, 1, 0)
    of_terminal, of_customer = Rows(rows.TERMINAL_ID, terminals), Rows(rows.CUSTOMER_ID, customers)
    for start in range(days):
        chosen = rng.choice(terminals, per_day(rng, 2, terminals / TERMINALS), replace=False)
        scenario[within(of_terminal.of(chosen), day, start, 28)] = 2
    for start in range(days):
        chosen = rng.choice(customers, per_day(rng, 3, customers / CUSTOMERS), replace=False)
        theirs = within(of_customer.of(chosen), day, start, 14)
        stolen = rng.choice(theirs, len(theirs) // 3, replace=False)
        amount[stolen] *= 5
        scenario[stolen] = 3
    return rows.assign(TX_AMOUNT=amount.round(2), TX_FRAUD=(scenario > 0).astype(int), TX_FRAUD_SCENARIO=scenario)


def per_day(rng: np.random.Generator, at_full_size: int, scale: float) -> int:
    """So many compromised a day, rounded up or down at random so that the mean is kept."""
    return int(at_full_size * scale + rng.random())


def within(index: NDArray[np.int64], day: NDArray[np.int64], start: int, length: int) -> NDArray[np.int64]:
    return index[(day[index] >= start) & (day[index] < start + length)]


class Rows:
    """The row numbers of each id."""

    def __init__(self, ids: pd.Series, count: int):
        self._order = np.argsort(ids.to_numpy(), kind="stable")
        self._first = np.searchsorted(ids.to_numpy()[self._order], np.arange(count + 1))

    def of(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        none = np.empty(0, np.int64)
        return np.concatenate([none, *(self._order[self._first[i] : self._first[i + 1]] for i in chosen)])


def with_features(rows: pd.DataFrame, *, last_days: int = 14) -> pd.DataFrame:
    """The published features of the payments of the last days, computed over the whole history.

    Customer windows are (t - W, t] in row order, the own payment included. Terminal windows are (t - 7d - W, t - 7d],
    because a label is known seven days late: the difference of two windows that end now. An empty window gives 0.
    """
    out = rows.copy()
    out["TX_DURING_WEEKEND"] = (out.TX_DATETIME.dt.day_of_week >= 5).astype(int)
    out["TX_DURING_NIGHT"] = (out.TX_DATETIME.dt.hour <= 6).astype(int)
    cents = (rows.TX_AMOUNT * 100).round()
    for days in WINDOWS_DAYS:
        count = rolling(rows, by="CUSTOMER_ID", days=days, values=cents * 0 + 1)
        out[f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW"] = count
        out[f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW"] = (
            rolling(rows, by="CUSTOMER_ID", days=days, values=cents) / 100 / count
        )
    for days in WINDOWS_DAYS:
        count, frauds = (delayed(rows, days=days, values=values) for values in (cents * 0 + 1, rows.TX_FRAUD))
        out[f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW"] = count
        out[f"TERMINAL_ID_RISK_{days}DAY_WINDOW"] = np.divide(frauds, count, out=np.zeros(len(rows)), where=count > 0)
    return out[out.TX_TIME_DAYS.gt(rows.TX_TIME_DAYS.max() - last_days)]


def delayed(rows: pd.DataFrame, *, days: int, values: pd.Series) -> NDArray[np.float64]:
    """Sums over (t - 7d - W, t - 7d] of the terminal."""
    long, short = (rolling(rows, by="TERMINAL_ID", days=d, values=values) for d in (DELAY_DAYS + days, DELAY_DAYS))
    return long - short


def rolling(rows: pd.DataFrame, *, by: str, days: int, values: pd.Series) -> NDArray[np.float64]:
    """Sums of `values` (whole numbers, so exact) over (t - days, t] among the rows of the same id, in row order."""
    order = np.argsort(rows[by].to_numpy(), kind="stable")
    frame = pd.DataFrame({"id": rows[by].to_numpy()[order], "value": values.to_numpy(float)[order]})
    frame.index = pd.DatetimeIndex(rows.TX_DATETIME.to_numpy()[order])
    sums = frame.groupby("id", sort=True).value.rolling(f"{days}D", closed="right").sum().to_numpy()
    out = np.empty(len(rows))
    out[order] = sums
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=129)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--terminals", type=int, default=TERMINALS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--features", type=Path, help="also write the published features of the last days")
    parser.add_argument("--feature-days", type=int, default=14)
    args = parser.parse_args()
    rows = simulate(customers=args.customers, terminals=args.terminals, days=args.days, seed=args.seed)
    rows.to_parquet(args.out, index=False)
    print(f"{len(rows):,} payments, {rows.TX_FRAUD.mean():.2%} fraud -> {args.out}")
    if args.features:
        table = with_features(rows, last_days=args.feature_days)
        table.to_parquet(args.features, index=False)
        print(f"{len(table):,} payments with features -> {args.features}")


if __name__ == "__main__":
    main()
