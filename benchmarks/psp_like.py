"""A log of payment attempts over several providers in the shape that `psp_routing.py` reads, with the truth known.

    python benchmarks/psp_like.py --attempts 50000 --days 59 --seed 0 --out FOLDER

Invented: figures measured on it are not figures on any shop's data. A payer keeps a luck of his own over all his
attempts, so that retries succeed less often than first attempts; who is declined tries again, mostly where he was.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIRST_DAY: Final = np.datetime64("2019-01-01", "us")
PSPS: Final = ("Cedar", "Birch", "Aspen", "Maple")
SHARES: Final = np.array([0.25, 0.52, 0.17, 0.06])
FEES: Final = {"Cedar": (1.0, 0.5), "Birch": (3.0, 1.0), "Aspen": (5.0, 2.0), "Maple": (10.0, 5.0)}
"""What a success and a failure cost, in EUR."""
LIFT: Final = np.array([-2.0, -1.75, -1.6, -0.8])
COUNTRIES, COUNTRY_SHARES, COUNTRY_LIFT = ("Austria", "Germany", "Switzerland"), [0.2, 0.6, 0.2], [0.3, 0.0, -0.5]
CARDS, CARD_SHARES, CARD_LIFT = ("Diners", "Master", "Visa"), [0.2, 0.57, 0.23], [0.9, 0.0, -0.4]
DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, eq=False)
class Payers:
    """One row per payment: float64 or int64[payments]."""

    at_us: Ints
    country: Ints
    amount: Floats
    three_ds: Ints
    card: Ints
    luck: Floats


@dataclass(frozen=True, eq=False)
class LikeLog:
    """Columns of the log, oldest first, which attempts are a payment's first, and the true probabilities."""

    columns: dict[str, NDArray]
    first: NDArray[np.bool_]
    probability: Floats
    """float64[attempts, PSPS]"""

    def true_net(self, rows: Ints, sent_to: Ints, *, margin: float) -> float:
        """What sending these attempts to PSPS[sent_to] earns on average."""
        p = self.probability[rows, sent_to]
        success, failure = np.array([FEES[name] for name in PSPS])[sent_to].T
        return float((p * (margin * self.columns["amount"][rows] - success) - (1.0 - p) * failure).mean())

    def where(self, rows: NDArray[np.bool_]) -> "LikeLog":
        columns = {name: column[rows] for name, column in self.columns.items()}
        return LikeLog(columns, self.first[rows], self.probability[rows])

    def write(self, file: Path) -> None:
        table = duckdb.connect()
        table.execute("CREATE TABLE log(ts TIMESTAMP, country VARCHAR, amount DOUBLE, success INTEGER, PSP VARCHAR, "
                      "three_ds INTEGER, card VARCHAR)")  # fmt: skip
        table.register("columns", self.columns)
        table.execute("INSERT INTO log SELECT make_timestamp(at_us), * EXCLUDE (at_us) FROM columns")
        table.execute(f"COPY log TO '{file}'")


def simulate(*, attempts: int = 50_000, days: int = 59, seed: int = 0, interaction: float = 0.0) -> LikeLog:
    """About `attempts` attempts. With `interaction` 0 the cheapest provider is the best for nearly everybody.

    Above 0, "Aspen" is better for large payments by Master, by that much in log-odds.

    >>> log = simulate(attempts=1_000, days=3, seed=1)
    >>> list(log.columns)
    ['at_us', 'country', 'amount', 'success', 'PSP', 'three_ds', 'card']
    """
    rng = np.random.default_rng(seed)
    payers = drawn(rng, int(attempts * 0.55), days)
    chance = probabilities(payers, interaction)
    rows, psp, at_us, success = tries(rng, payers, chance)
    order = np.argsort(at_us, kind="stable")
    first = (np.unique(rows, return_index=True)[1][rows] == np.arange(len(rows)))[order]
    rows, psp, at_us, success = rows[order], psp[order], at_us[order], success[order]
    columns = {
        "at_us": at_us,
        "country": np.array(COUNTRIES)[payers.country[rows]],
        "amount": payers.amount[rows],
        "success": success,
        "PSP": np.array(PSPS)[psp],
        "three_ds": payers.three_ds[rows],
        "card": np.array(CARDS)[payers.card[rows]],
    }
    return LikeLog(columns, first, chance[rows])


def drawn(rng: np.random.Generator, payments: int, days: int) -> Payers:
    second = np.clip(rng.normal(14.0, 5.0, payments) * 3600, 0, 86_399).astype(np.int64)
    at_us = (rng.integers(0, days, payments) * 86_400 + second) * 1_000_000 + FIRST_DAY.astype(np.int64)
    return Payers(
        at_us=at_us,
        country=rng.choice(3, payments, p=COUNTRY_SHARES),
        amount=np.clip(np.round(rng.normal(200.0, 95.0, payments)), 6, 640),
        three_ds=(rng.random(payments) < 0.24).astype(np.int64),
        card=rng.choice(3, payments, p=CARD_SHARES),
        luck=rng.normal(0.0, 0.3, payments),
    )


def probabilities(payers: Payers, interaction: float) -> Floats:
    """float64[payments, PSPS]: every provider has good and bad days of its own."""
    fits = (payers.card == 1) & (payers.amount > 200.0)
    day = (payers.at_us // DAY_US)[:, None]
    z = LIFT + 0.25 * np.sin(day / 5.0 + 2.0 * np.arange(len(PSPS)))
    z = z + (payers.luck + 1.1 * payers.three_ds - 0.003 * (payers.amount - 200.0))[:, None]
    z += (np.array(COUNTRY_LIFT)[payers.country] + np.array(CARD_LIFT)[payers.card])[:, None]
    z[:, 2] += interaction * fits
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


def tries(rng: np.random.Generator, payers: Payers, chance: Floats) -> tuple[Ints, ...]:
    """(payment, provider, time, success) of every attempt: six of ten who are declined try again, half a minute on."""
    rows, at_us = np.arange(len(payers.at_us)), payers.at_us
    psp = rng.choice(len(PSPS), len(rows), p=SHARES)
    found = []
    while len(rows):
        success = (rng.random(len(rows)) < chance[rows, psp]).astype(np.int64)
        found.append((rows, psp, at_us, success))
        again = (success == 0) & (rng.random(len(rows)) < 0.6)
        wait_us = (np.clip(rng.lognormal(3.2, 0.6, len(rows)), 2, 110) * 1e6).astype(np.int64)
        elsewhere = rng.choice(len(PSPS), len(rows), p=SHARES)
        psp = np.where(rng.random(len(rows)) < 0.7, psp, elsewhere)
        rows, psp, at_us = rows[again], psp[again], (at_us + wait_us)[again]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def write_fees(file: Path) -> None:
    lines = [f"{name},{success},{failure}" for name, (success, failure) in FEES.items()]
    file.write_text("\n".join(["psp,fee_success,fee_failure", *lines]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=int, default=50_000)
    parser.add_argument("--days", type=int, default=59)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--interaction", type=float, default=0.0, help="how much better one provider is for some")
    parser.add_argument("--out", type=Path, required=True, help="a folder: train.parquet, test.parquet, fees.csv")
    args = parser.parse_args()
    log = simulate(attempts=args.attempts, days=args.days, seed=args.seed, interaction=args.interaction)
    earlier = log.columns["at_us"] < FIRST_DAY.astype(np.int64) + int(args.days * 0.7) * DAY_US
    args.out.mkdir(parents=True, exist_ok=True)
    log.where(earlier).write(args.out / "train.parquet")
    log.where(~earlier).write(args.out / "test.parquet")
    write_fees(args.out / "fees.csv")


if __name__ == "__main__":
    main()
