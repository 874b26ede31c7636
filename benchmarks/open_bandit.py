"""Values one policy from the other's log on the Open Bandit Dataset, and holds it against that policy's own log.

    python benchmarks/open_bandit.py --data DIR [--json OUT] [--rows-max 200000]

DIR holds logs of the campaigns all, men, women under the policies random and bts: CSV or Parquet, named by folders, by
file names, or by columns (`campaign`, `behavior_policy`). A row is one item shown at one position: timestamp, item_id,
position, click, propensity_score, user_feature_*.

1. each policy's distribution over items by position: uniform for random; for bts as its propensities say, or, where it
   logged none, as often as it showed them
2. a direct model: clicks by item and position, drawn to the mean, fitted on other users than it is used for
3. IPW, SNIPW, DM, DR of the difference to the logging policy, clustered by user and by stretch of time; the gate
4. beside it the difference of the two logs' own click rates, as nothing else knows the truth
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray
from table import about

from greenlane.errors import GreenlaneError
from greenlane.experiments.gate import Verdict, effective_events, judge
from greenlane.experiments.off_policy import Overlap, Term, overlap, term

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CAMPAIGNS: Final = ("all", "men", "women")
POLICIES: Final = ("random", "bts")
NAMES: Final = {
    "timestamp": ("timestamp", "ts", "time"),
    "item": ("item_id", "action", "item"),
    "position": ("position", "pos"),
    "click": ("click", "reward"),
    "propensity": ("propensity_score", "pscore", "propensity", "action_prob"),
}
"""What columns are called, here and in copies of the data."""
FOLDS: Final = 5
PRIOR_CLICKS: Final = 2.0
"""For which the mean counts beside an item's own clicks."""
SAME: Final = 1e-3
"""Relative: propensities of one item at one position that differ by less are one number."""
STRETCHES: Final = 40


@dataclass(frozen=True, eq=False)
class Log:
    """One campaign under one policy, oldest first."""

    at_us: Ints
    item: Ints
    position: Ints
    click: Floats
    propensity: Floats
    """NaN where it was not logged."""
    user: Ints

    def __len__(self) -> int:
        return len(self.item)


def files_in(folder: Path) -> list[Path]:
    kinds = ("*.csv", "*.csv.gz", "*.parquet", "*.pq")
    return sorted(f for kind in kinds for f in folder.rglob(kind) if "context" not in f.name)


def words_of(path: Path) -> list[str]:
    return [word for word in re.split(r"[^a-z]+", str(path).lower()) if word]


def named(words: list[str], choices: tuple[str, ...]) -> str | None:
    """The last word that is one of the choices: a file's name outweighs its folders'."""
    return next((word for word in reversed(words) if word in choices), None)


def read_logs(folder: Path, *, rows_max: int) -> dict[tuple[str, str], Log]:
    """By (campaign, policy)."""
    found: dict[tuple[str, str], Log] = {}
    files = files_in(folder)
    for file in files:
        words = words_of(file.relative_to(folder))
        for (campaign, policy), columns in parts_of(file, named(words, CAMPAIGNS), named(words, POLICIES), rows_max):
            found.setdefault((campaign, policy), log_of(columns))
    if not found:
        raise SystemExit(f"{folder}: no log of a known campaign and policy in {len(files)} files")
    return found


def parts_of(
    file: Path, campaign: str | None, policy: str | None, rows_max: int
) -> Iterator[tuple[tuple[str, str], dict[str, NDArray[Any]]]]:
    reader = "read_parquet" if file.suffix in (".parquet", ".pq") else "read_csv"
    try:
        rows = duckdb.execute(f"SELECT * FROM {reader}($1) LIMIT {rows_max}", [str(file)]).fetchnumpy()
    except duckdb.Error as error:
        raise SystemExit(f"{file}: {error}") from None
    columns = {name.lower(): np.ma.filled(column, np.nan) if np.ma.isMaskedArray(column) and column.dtype.kind == "f"
               else np.asarray(column) for name, column in rows.items()}  # fmt: skip
    told = [columns.get(name) for name in ("campaign", "behavior_policy")]
    if told[1] is None:
        told[1] = columns.get("policy")
    if told[0] is None and told[1] is None:
        if campaign and policy:
            yield (campaign, policy), columns
        return
    n = len(next(iter(columns.values())))
    of = [np.full(n, fallback) if column is None else np.char.lower(column.astype(str))
          for column, fallback in zip(told, (campaign or "all", policy or ""), strict=True)]  # fmt: skip
    for one in CAMPAIGNS:
        for other in POLICIES:
            mine = (of[0] == one) & (of[1] == other)
            if mine.any():
                yield (one, other), {name: column[mine] for name, column in columns.items()}


def log_of(columns: dict[str, NDArray[Any]]) -> Log:
    def column(kind: str) -> NDArray[Any] | None:
        return next((columns[name] for name in NAMES[kind] if name in columns), None)

    def needed(kind: str) -> NDArray[Any]:
        found = column(kind)
        if found is None:
            raise SystemExit(f"a log has no column {NAMES[kind][0]}; it has {', '.join(columns)}")
        return found

    item, click = needed("item"), needed("click").astype(np.float64)
    n, time, position, propensity = len(item), column("timestamp"), column("position"), column("propensity")
    at_us = np.arange(n) if time is None else times_of(time)
    about_user = [columns[name].astype(str) for name in sorted(columns) if name.startswith("user_feature")]
    rows = zip(*about_user, strict=True) if about_user else zip(np.arange(n).astype(str), strict=True)
    keys = np.array(["|".join(row) for row in rows])
    order = np.argsort(at_us, kind="stable")
    return Log(
        at_us=at_us[order],
        item=item.astype(np.int64)[order],
        position=np.zeros(n, np.int64) if position is None else position.astype(np.int64)[order],
        click=click[order],
        propensity=np.full(n, np.nan) if propensity is None else propensity.astype(np.float64)[order],
        user=np.unique(keys, return_inverse=True)[1].astype(np.int64)[order],
    )


def times_of(column: NDArray[Any]) -> Ints:
    if column.dtype.kind in "iuf":
        return column.astype(np.int64)
    return np.asarray(column.astype("datetime64[us]").astype(np.int64))


@dataclass(frozen=True, eq=False)
class Shown:
    """A policy: float64[positions, items] that sum to 1 over items."""

    positions: Ints
    items: Ints
    chance: Floats

    def of(self, position: Ints) -> Floats:
        """float64[rows, items]"""
        return np.asarray(self.chance[np.searchsorted(self.positions, position)])


def policy_of(log: Log, name: str, *, positions: Ints, items: Ints) -> Shown:
    """Random is uniform. The other: its propensities by position and item, or else its frequencies."""
    shape = len(positions), len(items)
    if name == "random":
        return Shown(positions, items, np.full(shape, 1.0 / len(items)))
    p, a = np.searchsorted(positions, log.position), np.searchsorted(items, log.item)
    count = np.zeros(shape)
    np.add.at(count, (p, a), 1.0)
    if np.isnan(log.propensity).any():
        chance = count
    else:
        chance = np.zeros(shape)
        np.add.at(chance, (p, a), log.propensity)
        chance = np.divide(chance, count, out=np.zeros(shape), where=count > 0.0)
        left = np.maximum(1.0 - chance.sum(axis=1), 0.0)
        unseen = np.maximum((count == 0.0).sum(axis=1), 1)
        chance = np.where(count > 0.0, chance, (left / unseen)[:, None])
    total = chance.sum(axis=1, keepdims=True)
    return Shown(positions, items, np.where(total > 0.0, chance / np.maximum(total, 1e-300), 1.0 / len(items)))


def logging_of(log: Log, policy: Shown) -> Floats:
    """Row by row, with the row's own propensity where one was logged; the rest of the mass keeps its proportions."""
    found = policy.of(log.position)
    rows, item = np.arange(len(log)), np.searchsorted(policy.items, log.item)
    usual = found[rows, item]
    own = np.where(np.isnan(log.propensity), usual, log.propensity)
    if np.allclose(own, usual, rtol=SAME):  # rows that differ in the last bit only would tell what was taken
        return found
    rest = found.copy()
    rest[rows, item] = 0.0
    scale = np.divide(1.0 - own, rest.sum(axis=1), out=np.zeros(len(log)), where=rest.sum(axis=1) > 0.0)
    rest *= scale[:, None]
    rest[rows, item] = np.where(rest.sum(axis=1) > 0.0, own, 1.0)
    return np.asarray(rest)


def model_of(log: Log, items: Ints) -> Floats:
    """float64[rows, items]: P(click) by item times by position, from users that are not the row's."""
    positions = np.unique(log.position)
    p, a = np.searchsorted(positions, log.position), np.searchsorted(items, log.item)
    said = np.zeros((len(log), len(items)))
    for fold in range(FOLDS):
        mine = log.user % FOLDS == fold
        mean = max(float(log.click[~mine].mean()), 1e-9)
        by_item, by_position = (
            (np.bincount(at[~mine], log.click[~mine], size) + PRIOR_CLICKS)
            / (np.bincount(at[~mine], minlength=size) + PRIOR_CLICKS / mean)
            for at, size in ((a, len(items)), (p, len(positions)))
        )
        said[mine] = np.minimum(by_position[p[mine], None] / mean * by_item, 1.0)
    return said


@dataclass(frozen=True, eq=False)
class Found:
    seen: Overlap
    money: Term
    verdict: Verdict
    own: tuple[float, float]
    """Difference of the logs' own click rates, and its standard error."""


def value(log: Log, other: Log, *, logged: str, target: str, effect: float | None) -> Found:
    """`target` from the log of `logged`."""
    items = np.union1d(log.item, other.item)
    positions = np.union1d(log.position, other.position)
    wanted = policy_of(other, target, positions=positions, items=items).of(log.position)
    logging = logging_of(log, policy_of(log, logged, positions=positions, items=items))
    stretch = (log.at_us - log.at_us[0]) * STRETCHES // max(int(log.at_us[-1] - log.at_us[0]) + 1, 1)
    seen = overlap(wanted, logging, action=np.searchsorted(items, log.item), cluster=log.user, block=stretch)
    money = term(seen, log.click, model=model_of(log, items), low=0.0, high=1.0)
    rates = [(x.click.mean(), x.click.var() / len(x)) for x in (other, log)]
    own = float(rates[0][0] - rates[1][0]), float((rates[0][1] + rates[1][1]) ** 0.5)
    return Found(seen, money, judge(seen, {"clicks": money}, claimed=effect), own)


def as_json(found: Found) -> dict[str, Any]:
    verdict, total = found.verdict, found.verdict.total
    reference, se = found.own
    return {
        "accepted": verdict.accepted,
        "reasons": verdict.reasons,
        "value": total.value,
        "low": total.low,
        "high": total.high,
        "estimates": verdict.estimates,
        "effective_rows": verdict.effective_rows,
        "effective_events": effective_events(found.seen, found.money),
        "rows": verdict.units,
        "largest_weight": float(found.seen.weight.max()),
        "mean_weight": float(found.seen.weight.mean()),
        "own_logs_difference": reference,
        "own_logs_se": se,
        "agrees_with_own_logs": bool(total.low - 1.96 * se <= reference <= total.high + 1.96 * se),
        "checks": [{"name": c.name, "value": c.value, "limit": c.limit, "passed": c.passed} for c in verdict.checks],
    }


def told(name: str, found: Found) -> str:
    verdict, total, (reference, se) = found.verdict, found.verdict.total, found.own
    answer = "accepted" if verdict.accepted else "refused"
    value_ = "bounds" if total.value is None else f"{total.value:+.5f}"
    lines = [
        f"{name}: {answer}; {verdict.units:,} rows, {verdict.effective_rows:,.0f} effective, "
        f"{effective_events(found.seen, found.money):,.0f} effective clicks",
        f"  click rate, target less logged: {value_} [{total.low:+.5f}, {total.high:+.5f}]; by the logs' own rates "
        f"{reference:+.5f} (se {se:.5f})",
        *(f"    {kind:<7} {v:+.5f} [{low:+.5f}, {high:+.5f}]" for kind, (v, low, high) in verdict.estimates.items()),
        *(f"    refused: {why}" for why in verdict.reasons),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data set")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--rows-max", type=int, default=200_000, help="of each file")
    parser.add_argument("--effect", type=float, help="the difference in click rate that was to be shown")
    args = parser.parse_args()
    if not args.data.is_dir():
        raise SystemExit(f"there is no folder {args.data}")
    logs, results = read_logs(args.data, rows_max=args.rows_max), dict[str, Any]()
    for campaign in CAMPAIGNS:
        for logged, target in (("random", "bts"), ("bts", "random")):
            if (campaign, logged) not in logs or (campaign, target) not in logs:
                continue
            name = f"{campaign}: {target} from {logged}'s log"
            try:
                found = value(logs[campaign, logged], logs[campaign, target], logged=logged, target=target,
                              effect=args.effect)  # fmt: skip
            except GreenlaneError as error:
                results[name] = {"accepted": False, "reasons": [str(error)]}
                print(f"{name}: refused: {error}")
                continue
            results[name] = as_json(found)
            print(told(name, found))
    if not results:
        raise SystemExit("no campaign has the logs of both policies")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"about": about(), "results": results}, indent=2) + "\n")
    apart = [name for name, one in results.items() if one["accepted"] and not one["agrees_with_own_logs"]]
    for name in apart:
        print(f"BREACH: {name}: an accepted interval is far from the logs' own rates", file=sys.stderr)
    return int(bool(apart))


if __name__ == "__main__":
    sys.exit(main())
