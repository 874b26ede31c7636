"""Which provider should a payment be sent to? Learned on the first part of a log, valued off-policy on a later one.

    python benchmarks/psp_routing.py --train FILE --test FILE --fees FILE [--margin 0.05] [--json OUT]

Files are CSV or Parquet; a workbook has to be saved as one of them. A log has the columns ts, country, amount, success,
PSP, three_ds, card: one row per attempt. Fees have psp, fee_success, fee_failure. Other names for them are known as
well. Money is in the unit of the log's amounts.

1. attempts -> payments                    (same card, country, amount and 3-D Secure flag, again within two minutes)
2. what was known before each attempt      (nothing here looks ahead: tests/simulation/test_psp_routing.py)
3. a success model, calibrated on held-out time
4. a router: the cheapest provider, unless the log itself says, with confidence, that moving some payments pays
5. on the later part: what the log earned, what the cheapest and the router would have earned, from the shares
   with which providers were chosen in the training part; and the gate's verdict on it

The gate may refuse although the doubly robust value stands: it also asks that the other estimators agree with it. Each
of them fails one log in twenty by chance, and the model's own value fails where providers have better or worse days
later than it was fitted on. Of seven logs by `psp_like.py` (50,000 attempts, seeds 0 to 6) it refused 3, 5 and 6: on 3
and 5 the model gave the cheapest provider .013 less success than the truth, on 6 by chance. The interval held the true
value on all seven; the best area under ROC that a log allows was .713 to .722 there, and .693 to .706 was reached.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray
from table import Bar, about, bar, shown

from greenlane.adapters.lightgbm_trainer import LightGbm
from greenlane.errors import GreenlaneError
from greenlane.experiments.distributions import chi_square_above
from greenlane.experiments.gate import Verdict, judge
from greenlane.experiments.off_policy import Difference, Overlap, Term, between, overlap, term, values
from greenlane.experiments.weights import effective_size
from greenlane.learning.calibrate import fit_platt, log_loss
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Fold
from greenlane.learning.ranking import Ranking
from greenlane.models.calibration import Identity, Platt

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[Any]

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3600 * SECOND_US
DAY_US: Final = 24 * HOUR_US
RETRY_US: Final = 120 * SECOND_US
"""How soon a declined payer's next attempt still belongs to the same payment."""
RECENT_US: Final = DAY_US
RECENT_PRIOR: Final = 20.0
"""Attempts for which a provider's whole past counts beside its last day."""

COMMON: Final = {**LightGbm.default, "min_data_in_leaf": 100, "lambda_l2": 20.0, "max_bin": 255}
TRIALS: Final = (
    {**COMMON, "rounds": 150, "num_leaves": 15},
    {**COMMON, "rounds": 300, "num_leaves": 6},
    {**COMMON, "rounds": 400, "num_leaves": 4},
)
"""Judged by log loss on held-out training time."""
FOLDS, HELD_OUT_SHARE, SEEDS = 4, 0.7, 3
TRAIN_ROWS_MIN: Final = 500

SHARE_MIN: Final = 0.005
"""Less often chosen by the log: nothing is known about such a provider. One over the gate's largest weight."""
DAY_PRIOR: Final = 50.0
"""First attempts for which the whole part's shares count beside a day's."""
DRIFT_P_MAX: Final = 0.001
"""Below, shares changed from day to day, and only the last week's are taken to the later part."""
DEPENDENCE_MAX: Final = 0.05
"""Cramér's V of provider and context up to which a choice counts as made without looking."""
MOVED: Final = (1.0, 0.5, 0.25, 0.1)
"""Shares, of the payments that the model would move, that are tried: those with the largest gains."""
ALPHA: Final = 0.05
BLOCKS_MIN: Final = 10


@dataclass(frozen=True, eq=False)
class Log:
    """Attempts of both parts, oldest first. Categories are numbered over both parts: a new one is a new column."""

    at_us: Ints
    amount: Floats
    success: Ints
    three_ds: Ints
    country: Ints
    card: Ints
    psp: Ints
    psps: tuple[str, ...]
    later: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.at_us)


NAMES: Final = {
    "ts": ("ts", "tmsp", "timestamp", "time", "datetime", "created_at", "date"),
    "country": ("country", "country_code"),
    "amount": ("amount", "value"),
    "success": ("success", "successful", "approved", "is_success"),
    "psp": ("psp", "provider", "route", "name"),
    "three_ds": ("three_ds", "3d_secured", "3ds", "3d_secure", "threeds", "is_3ds", "secured"),
    "card": ("card", "card_scheme", "scheme", "network", "card_type"),
    "fee_success": ("fee_success", "success_fee", "fee_successful", "success", "fee_on_success"),
    "fee_failure": ("fee_failure", "failure_fee", "fee_failed", "failed_fee", "fee_fail", "failure", "failed"),
}
"""What columns are called, here and in copies of the data; in any case, with spaces or underscores."""
YES: Final = "('1', '1.0', 'true', 't', 'yes', 'y', 'success', 'successful', 'approved')"
TEXT, NUMBER = "trim(CAST({0} AS VARCHAR))", "CAST(regexp_extract(CAST({0} AS VARCHAR), '-?[0-9.]+') AS DOUBLE)"
FLAG: Final = f"CAST(lower(trim(CAST({{0}} AS VARCHAR))) IN {YES} AS BIGINT)"


def read_table(file: Path, wanted: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Columns by our names, each read by its SQL; rows with an empty field are left out and counted."""
    try:
        rows = relation(file)
        known = {normal(name): name for name in rows.columns}
        found = {name: next((known[one] for one in NAMES[name] if one in known), None) for name in wanted}
        missing = [f"{name} (or {', '.join(NAMES[name][1:3])})" for name, column in found.items() if column is None]
        if missing:
            raise SystemExit(f"{file}: no column {'; no column '.join(missing)}. It has {', '.join(rows.columns)}")
        told = ", ".join(f'{wanted[name].format(quoted(column))} AS "{name}"' for name, column in found.items())
        columns = rows.project(told).fetchnumpy()
    except duckdb.Error as error:
        raise SystemExit(f"{file}: {str(error).splitlines()[0]}") from None
    whole = ~np.any([np.ma.getmaskarray(column) for column in columns.values()], axis=0)
    if not whole.all():
        print(f"{file}: {(~whole).sum()} rows with an empty field left out", file=sys.stderr)
    return {name: np.asarray(column[whole]) for name, column in columns.items()}


def relation(file: Path) -> Any:
    if file.suffix.lower() in (".xlsx", ".xls"):
        raise SystemExit(f"{file}: workbooks are not read: save it as CSV or Parquet")
    return (duckdb.read_parquet if file.suffix.lower() in (".parquet", ".pq") else duckdb.read_csv)(str(file))


def quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def normal(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def read_log(train: Path, test: Path) -> Log:
    duckdb.execute("SET TimeZone = 'UTC'")
    wanted = {
        "ts": "epoch_us(CAST({0} AS TIMESTAMP))", "country": TEXT, "amount": NUMBER, "success": FLAG, "psp": TEXT,
        "three_ds": FLAG, "card": TEXT,
    }  # fmt: skip
    parts = [read_table(file, wanted) for file in (train, test)]
    if not all(len(part["ts"]) for part in parts):
        raise SystemExit("both parts of the log need attempts")
    both = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    later = np.arange(len(both["ts"])) >= len(parts[0]["ts"])
    both["at_us"] = both.pop("ts")
    order = np.argsort(both["at_us"], kind="stable")
    both, later = {name: column[order] for name, column in both.items()}, later[order]
    if both["at_us"][later].min() <= both["at_us"][~later].max():
        print("the parts overlap in time: what follows is no forecast", file=sys.stderr)
    names = {name: np.unique(both[name].astype(str), return_inverse=True) for name in ("country", "card", "psp")}
    numbers = {name: found[1].astype(np.int64) for name, found in names.items()}
    numeric = {name: both[name] for name in ("at_us", "amount", "success", "three_ds")}
    return Log(**numeric, **numbers, psps=tuple(names["psp"][0].tolist()), later=later)


def read_fees(file: Path, psps: tuple[str, ...]) -> Floats:
    """float64[psps, (success, failure)]; NaN where the file does not say. Names are compared in any case."""
    rows = read_table(file, {"psp": TEXT, "fee_success": NUMBER, "fee_failure": NUMBER})
    known = {normal(str(name)): (s, f) for name, s, f in zip(*rows.values(), strict=True)}
    return np.array([known.get(normal(name), (np.nan, np.nan)) for name in psps])


@dataclass(frozen=True, eq=False)
class Past:
    """What was known before each attempt."""

    payer: Ints
    """Equal for attempts of one day that look the same: who they come from is not in the log."""
    attempt: Ints
    """0 for the first attempt of a payment."""
    waited_s: Floats
    """Since the payment's last attempt; NaN at the first."""
    last_psp: Ints
    """-1 at the first."""
    declined: Floats
    """float64[rows, psps]: how often each provider has declined this payment."""
    returned_s: Floats
    """Since the last attempt of another payment that looks the same, within a day; else NaN."""
    recent: Floats
    """float64[rows, psps]: each provider's success over the last day, drawn towards its success so far."""


def past_of(log: Log) -> Past:
    alike = np.unique(np.stack([log.country, log.card, log.three_ds, log.amount]), axis=1, return_inverse=True)[1]
    order = np.lexsort((log.at_us, alike))
    back = np.argsort(order)
    same, at_us, psp = alike[order], log.at_us[order], log.psp[order]
    gap_us = np.diff(at_us, prepend=at_us[0])
    follows = np.diff(same, prepend=-1) == 0
    declined_before = np.concatenate([[False], log.success[order][:-1] == 0])
    retry = follows & declined_before & (gap_us <= RETRY_US)
    start = np.maximum.accumulate(np.where(retry, 0, np.arange(len(log))))
    tried = np.eye(len(log.psps))[psp]
    before = np.cumsum(tried, axis=0) - tried
    return Past(
        payer=np.unique(np.stack([alike, log.at_us // DAY_US]), axis=1, return_inverse=True)[1],
        attempt=(np.arange(len(log)) - start)[back],
        waited_s=np.where(retry, gap_us / SECOND_US, np.nan)[back],
        last_psp=np.where(retry, np.concatenate([[-1], psp[:-1]]), -1)[back],
        declined=(before - before[start])[back],
        returned_s=np.where(follows & ~retry & (gap_us <= DAY_US), gap_us / SECOND_US, np.nan)[back],
        recent=np.stack([recent_success(log, number) for number in range(len(log.psps))], axis=1),
    )


def recent_success(log: Log, psp: int) -> Floats:
    """Only attempts strictly earlier than a row count for it."""
    mine = log.psp == psp
    at_us, won = log.at_us[mine], np.concatenate([[0], np.cumsum(log.success[mine])])
    end, begin = np.searchsorted(at_us, log.at_us), np.searchsorted(at_us, log.at_us - RECENT_US)
    so_far = (won[end] + 1.0) / (end + 4.0)
    return np.asarray((won[end] - won[begin] + RECENT_PRIOR * so_far) / (end - begin + RECENT_PRIOR))


def design(log: Log, past: Past, *, psp: Ints) -> NDArray[np.float32]:
    """The model's view of each attempt, if it were sent to `psp`."""
    rows = np.arange(len(log))
    columns = (
        log.amount,
        log.three_ds,
        log.at_us // HOUR_US % 24,
        log.at_us // DAY_US % 7,
        past.attempt,
        past.waited_s,
        past.returned_s,
        np.where(past.last_psp < 0, np.nan, past.last_psp == psp),
        past.declined[rows, psp],
        past.recent[rows, psp],
        past.recent.mean(axis=1),
    )
    return np.column_stack([*columns, *map(one_hot, (log.country, log.card, psp), levels_of(log))]).astype(np.float32)


def levels_of(log: Log) -> tuple[int, int, int]:
    return int(log.country.max()) + 1, int(log.card.max()) + 1, len(log.psps)


def one_hot(number: Ints, levels: int) -> Floats:
    return np.eye(levels)[number]


def examples_of(log: Log, past: Past) -> Examples:
    X = design(log, past, psp=log.psp)
    names = tuple(f"column {number}" for number in range(X.shape[1]))
    minor = np.round(log.amount * 100.0).astype(np.int64)
    return Examples(names, X, log.success.astype(np.int8), np.ones(len(log)), log.at_us, minor, past.payer)


@dataclass(frozen=True, eq=False)
class Learned:
    """Probabilities of success, float64[rows, psps], by models that had not seen the row's time yet; else NaN."""

    probability: Floats
    calibrator: Platt
    parameters: Mapping[str, float]


def learn(log: Log, past: Past) -> Learned:
    """Parameters and calibration from held-out training time; the later part's model from all of training."""
    rows = np.flatnonzero(~log.later)
    train = examples_of(log, past).take(rows).check_learnable()
    folds = [fold for fold in forward(train.at_us) if usable(fold)]
    if not folds:
        raise SystemExit("the training part is too short to hold time out")
    chosen = min(TRIALS, key=lambda parameters: held_out_loss(train, parameters, folds))
    sent_to = [design(log, past, psp=np.full(len(log), number)) for number in range(len(log.psps))]
    said = np.full((len(log), len(sent_to)), np.nan)
    parts = [(fold.train, rows[fold.valid]) for fold in folds]
    for part, told in [*parts, (slice(None), np.flatnonzero(log.later))]:
        models = [LightGbm(threads=1).fit(train.take(part), chosen, seed=seed) for seed in range(SEEDS)]
        said[told] = np.stack([np.mean([m.margins(X[told]) for m in models], axis=0) for X in sent_to], axis=1)
    known = np.concatenate([told for _, told in parts])
    calibrator = fit_platt(said[known, log.psp[known]], log.success[known].astype(np.float64), np.ones(len(known)))
    return Learned(1.0 / (1.0 + np.exp(-calibrator.slope * said - calibrator.intercept)), calibrator, chosen)


def forward(at_us: Ints) -> Iterator[Fold]:
    """The last `HELD_OUT_SHARE` of the time in blocks of equal length, each told by what came before it: policies are
    valued on the log itself, so no model may have seen what came later."""
    edges = np.linspace(at_us[-1] + 1 - HELD_OUT_SHARE * (at_us[-1] + 1 - at_us[0]), at_us[-1] + 1, FOLDS + 1)
    for start, stop in pairwise(edges):
        yield Fold(at_us < start, (at_us >= start) & (at_us < stop))


def usable(fold: Fold) -> bool:
    return int(fold.train.sum()) >= TRAIN_ROWS_MIN and bool(fold.valid.any())


def held_out_loss(train: Examples, parameters: Mapping[str, float], folds: list[Fold]) -> float:
    def loss(fold: Fold) -> float:
        model = LightGbm(threads=1).fit(train.take(fold.train), parameters, seed=0)
        said = Identity().probabilities(model.margins(train.X[fold.valid]))
        return log_loss(said, train.y[fold.valid].astype(np.float64), np.ones(len(said))) * len(said)

    return sum(map(loss, folds))


@dataclass(frozen=True, eq=False)
class Offers:
    """What each provider is expected to bring, float64[rows, psps]; `open_to` bool[psps] says which may be chosen."""

    take: Floats
    fee: Floats

    @classmethod
    def of(cls, log: Log, probability: Floats, *, fees: Floats, margin: float) -> "Offers":
        return cls(
            take=margin * log.amount[:, None] * probability,
            fee=probability * fees[:, 0] + (1.0 - probability) * fees[:, 1],
        )

    def cheapest(self, open_to: NDArray[np.bool_]) -> Ints:
        return np.where(open_to, self.fee, np.inf).argmin(axis=1)

    def gains(self, open_to: NDArray[np.bool_]) -> tuple[Ints, Floats]:
        """The most valuable provider, and what it is expected to earn over the cheapest."""
        net = np.where(open_to, self.take - self.fee, -np.inf)
        best, cheapest, rows = net.argmax(axis=1), self.cheapest(open_to), np.arange(len(net))
        return best, net[rows, best] - net[rows, cheapest]

    def routed(self, open_to: NDArray[np.bool_], *, gain_min: float) -> Ints:
        """The router: a payment leaves the cheapest only for `gain_min` and more."""
        best, gain = self.gains(open_to)
        return np.where((gain > 0.0) & (gain >= gain_min), best, self.cheapest(open_to))

    def __getitem__(self, rows: Rows) -> "Offers":
        return Offers(self.take[rows], self.fee[rows])


@dataclass(frozen=True, eq=False)
class Slice:
    """First attempts whose provider the log drew with known probability, and what they earned."""

    rows: Ints
    action: Ints
    logging: Floats
    """float64[rows, psps]"""
    earned: Floats
    """float64[rows, (take, minus fee)]"""
    payer: Ints
    block: Ints | None
    offers: Offers

    def seen(self, target: Ints | None) -> Overlap:
        """Under a policy that sends row i to target[i]; the log's own for None."""
        policy = self.logging if target is None else np.eye(self.logging.shape[1])[target]
        return overlap(policy, self.logging, action=self.action, cluster=self.payer, block=self.block)

    def terms(self, seen: Overlap) -> dict[str, Term]:
        kinds = {"take": self.offers.take, "fees": -self.offers.fee}
        return {kind: term(seen, self.earned[:, k], model=model) for k, (kind, model) in enumerate(kinds.items())}

    def value(self, target: Ints | None) -> Mapping[str, Difference]:
        seen = self.seen(target)
        terms = self.terms(seen)
        found = values(seen, terms["take"] + terms["fees"])
        return found if target is not None else {"mean": found["SNIPW"]}


def sliced(log: Log, past: Past, rows: Ints, *, logging: Floats, offers: Offers, fees: Floats, margin: float) -> Slice:
    """Rows that the log could not have taken by these propensities are left out."""
    kept = logging[np.arange(len(rows)), log.psp[rows]] > 0.0
    rows, logging = rows[kept], logging[kept]
    success, psp = log.success[rows], log.psp[rows]
    return Slice(
        rows=rows,
        action=psp,
        logging=logging,
        earned=np.stack([margin * log.amount[rows] * success, -np.where(success, *fees[psp].T)], axis=1),
        payer=past.payer[rows],
        block=stretches(log.at_us[rows]),
        offers=offers[rows],
    )


def stretches(at_us: Ints) -> Ints | None:
    """Days, or hours where there are few days: rows of one stretch move together."""
    for width_us in (DAY_US, HOUR_US):
        if len(np.unique(at_us // width_us)) >= BLOCKS_MIN:
            return at_us // width_us
    return None


class Dependence(NamedTuple):
    """How much the choice of a provider tells about something else: 0 nothing, 1 everything."""

    cramers_v: float
    """Corrected for what chance alone would show (Bergsma 2013)."""
    p: float


def dependence(psp: Ints, context: Rows) -> Dependence:
    """Pearson's chi-square of the table of providers by context.

    >>> coin = np.arange(400) % 2
    >>> round(dependence(coin, coin).cramers_v, 2), dependence(coin, np.arange(400) // 2 % 2).p
    (1.0, 1.0)
    """
    context, psp = (np.unique(one, return_inverse=True)[1] for one in (context, psp))
    counts = np.zeros((psp.max() + 1, context.max() + 1))
    np.add.at(counts, (psp, context), 1.0)
    due = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    statistic, dof = float(((counts - due) ** 2 / due).sum()), (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if dof == 0:
        return Dependence(0.0, 1.0)
    beyond_chance = max(statistic - dof, 0.0) / len(psp)
    return Dependence((beyond_chance / (min(counts.shape) - 1)) ** 0.5, chi_square_above(statistic, dof))


def dependences(log: Log, first: Ints) -> dict[str, Dependence]:
    contexts = {
        "country": log.country,
        "card": log.card,
        "3-D Secure": log.three_ds,
        "amount": np.searchsorted(np.quantile(log.amount[first], [0.2, 0.4, 0.6, 0.8]), log.amount),
        "hour": log.at_us // HOUR_US % 24,
        "weekday": log.at_us // DAY_US % 7,
        "day": log.at_us // DAY_US,
    }
    return {name: dependence(log.psp[first], context[first]) for name, context in contexts.items()}


def shares_by_day(log: Log, first: Ints) -> Floats:
    """float64[first, psps]: how often each provider was chosen on a row's day, drawn towards the whole part's share."""
    days, day = np.unique(log.at_us[first] // DAY_US, return_inverse=True)
    counts = np.zeros((len(days), len(log.psps)))
    np.add.at(counts, (day, log.psp[first]), 1.0)
    prior = DAY_PRIOR * counts.sum(axis=0) / counts.sum()
    return np.asarray((counts + prior) / (counts + prior).sum(axis=1, keepdims=True))[day]


def shares_ahead(log: Log, first: Ints, *, drifted: bool) -> Floats:
    """float64[psps]: the shares expected of the later part."""
    at_us = log.at_us[first]
    recent = first[at_us > at_us.max() - 7 * DAY_US] if drifted else first
    counts = np.bincount(log.psp[recent], minlength=len(log.psps))
    return np.asarray(counts / counts.sum())


def safest(part: Slice, open_to: NDArray[np.bool_]) -> float:
    """The least gain for which a payment leaves the cheapest provider; infinite where none is sure to pay.

    High-confidence improvement (Thomas, Theocharous, Ghavamzadeh 2015): of a few routers the one with the highest lower
    bound over the cheapest, on held-out training time, and only if it is above zero at 1 - alpha over all of them.
    """
    cheapest = part.value(part.offers.cheapest(open_to))["DR"]
    seen = part.seen(None)
    _, gain = part.offers.gains(open_to)
    best, found = 0.0, float("inf")
    for moved in MOVED if (gain > 0.0).any() else ():
        gain_min = float(np.quantile(gain[gain > 0.0], 1.0 - moved))
        candidate = part.value(part.offers.routed(open_to, gain_min=gain_min))["DR"]
        low = between(seen, candidate, cheapest, alpha=ALPHA / len(MOVED)).low
        print(f"router tried: the {moved:.0%} with the largest gains, {gain_min:.2f} and more, lower bound {low:+.4f}")
        if low > best:
            best, found = low, gain_min
    return found


@dataclass(frozen=True, eq=False)
class Found:
    """All that is told, and what the router did."""

    rows: Ints
    """Of the log: the first attempts of the later part that were valued."""
    actions: Mapping[str, Ints]
    values: Mapping[str, Mapping[str, Difference]]
    """policy -> estimator -> value"""
    paired: Mapping[str, Difference]
    sizes: Mapping[str, float]
    verdict: Verdict
    dependences: Mapping[str, Dependence]
    success: Mapping[str, float]
    gain_min: float
    learned: Learned
    routers: Mapping[str, "Judged"]


@dataclass(frozen=True, eq=False)
class Judged:
    """A plain router of the baseline page, against the log."""

    net: Mapping[str, Difference]
    ess: float
    verdict: Verdict


def routers(later: Slice, open_to: NDArray[np.bool_]) -> dict[str, Judged]:
    """Most success, most margin less fee, least fee: each by the same model, wherever the log went at all."""
    offers = later.offers
    scores = {"max_success": offers.take, "max_margin_less_fee": offers.take - offers.fee, "cheapest": -offers.fee}
    found = {}
    for name, score in scores.items():
        action = np.where(open_to, score, -np.inf).argmax(axis=1)
        seen = later.seen(action)
        verdict = judge(seen, later.terms(seen))
        found[name] = Judged(later.value(action), effective_size(seen.weight), verdict)
    return found


def routing(log: Log, fees: Floats, *, margin: float) -> Found:
    past = past_of(log)
    first = [np.flatnonzero((past.attempt == 0) & (log.later == later)) for later in (False, True)]
    depend = dependences(log, first[0])
    shares = shares_ahead(log, first[0], drifted=depend["day"].p < DRIFT_P_MAX)
    check_fees(log, shares, fees)
    learned = learn(log, past)
    offers = Offers.of(log, learned.probability, fees=fees, margin=margin)
    open_to = shares >= SHARE_MIN
    logging = [shares_by_day(log, first[0]), np.tile(shares, (len(first[1]), 1))]
    told = ~np.isnan(learned.probability[first[0], 0])
    cut = {"fees": fees, "margin": margin, "offers": offers}
    earlier = sliced(log, past, first[0][told], logging=logging[0][told], **cut)
    later = sliced(log, past, first[1], logging=logging[1], **cut)
    gain_min = safest(earlier, open_to)
    actions = {
        "greenlane": later.offers.routed(open_to, gain_min=gain_min),
        "cheapest": later.offers.cheapest(open_to),
    }
    found = {name: later.value(action) for name, action in [*actions.items(), ("logged", None)]}
    seen = later.seen(actions["greenlane"])
    return Found(
        rows=later.rows,
        actions=actions,
        values=found,
        paired={
            "greenlane_minus_cheapest": between(seen, found["greenlane"]["DR"], found["cheapest"]["DR"]),
            "greenlane_minus_logged": between(seen, found["greenlane"]["DR"], found["logged"]["mean"]),
        },
        sizes={name: effective_size(later.seen(action).weight) for name, action in actions.items()}
        | {"logged": float(len(later.rows))},
        verdict=judge(seen, later.terms(seen), excluded={"without a distribution": len(first[1]) - len(later.rows)}),
        dependences=depend,
        success=judged_success(log, learned),
        gain_min=gain_min,
        learned=learned,
        routers=routers(later, open_to),
    )


def check_fees(log: Log, shares: Floats, fees: Floats) -> None:
    unknown = [name for name, share, (fee, _) in zip(log.psps, shares, fees, strict=True) if share and np.isnan(fee)]
    if unknown:
        raise SystemExit(f"the file of fees says nothing of {', '.join(unknown)}")


def judged_success(log: Log, learned: Learned) -> dict[str, float]:
    """On all attempts of the later part, each at the provider that it went to."""
    said, y = learned.probability[log.later, log.psp[log.later]], log.success[log.later].astype(np.float64)
    weight = np.ones(len(y))
    share = np.full(len(y), log.success[~log.later].mean())
    return {
        "auc": Ranking.of(said, y).auc(),
        "log_loss": log_loss(said, y, weight),
        "log_loss_of_the_base_rate": log_loss(share, y, weight),
        "mean_said": float(said.mean()),
        "mean_seen": float(y.mean()),
    }


def plain(one: Difference) -> dict[str, float]:
    return {"estimate": one.value, "low": one.low, "high": one.high}


def as_json(log: Log, found: Found, *, margin: float) -> dict[str, Any]:
    def policy(name: str, headline: str) -> dict[str, Any]:
        net = {kind: {**plain(one), "ess": found.sizes[name]} for kind, one in found.values[name].items()}
        return {"net_per_first_attempt": net[headline], "by_estimator": net}

    return {
        "greenlane": {**policy("greenlane", "DR"), "gain_min": found.gain_min if np.isfinite(found.gain_min) else None},
        "logged": policy("logged", "mean"),
        "cheapest": policy("cheapest", "DR"),
        "success_model": found.success,
        "paired": {name: plain(one) for name, one in found.paired.items()},
        "gate": {"accepted": found.verdict.accepted, "reasons": found.verdict.reasons},
        "routers": {name: router_json(one) for name, one in found.routers.items()},
        "independence": {name: one._asdict() for name, one in found.dependences.items()},
        "first_attempts": len(found.rows),
        "left_out": sum(found.verdict.excluded.values()),
        "shares": {name: sent_shares(log, action) for name, action in found.actions.items()},
        "margin": margin,
        "parameters": dict(found.learned.parameters),
        **about(),
    }


def router_json(one: Judged) -> dict[str, Any]:
    total = one.verdict.total
    return {
        "net_per_first_attempt": {kind: plain(net) for kind, net in one.net.items()},
        "against_the_log": {"estimate": total.value, "low": total.low, "high": total.high},
        "ess": one.ess,
        "gate": {
            "accepted": one.verdict.accepted,
            "reasons": one.verdict.reasons,
            "checks": {c.name: {"value": c.value, "limit": c.limit, "passed": c.passed} for c in one.verdict.checks},
        },
    }


def router_line(name: str, one: Judged) -> str:
    net, total = one.net["DR"], one.verdict.total
    answer = "accepted" if one.verdict.accepted else "refused: " + "; ".join(one.verdict.reasons)
    gap = f"[{total.low:+.3f}, {total.high:+.3f}] against the log"
    return f"{name}: net {net.value:.3f} [{net.low:.3f}, {net.high:.3f}], {gap}, {one.ess:,.0f} effective, {answer}"


def sent_shares(log: Log, action: Ints) -> dict[str, float]:
    return dict(zip(log.psps, (np.bincount(action, minlength=len(log.psps)) / len(action)).tolist(), strict=True))


def bars(found: Found) -> list[Bar]:
    one = "per payment"
    logged, paired = found.values["logged"]["mean"].value, found.paired["greenlane_minus_cheapest"]
    net = {f"{name}, {kind}": value for name, kinds in found.values.items() for kind, value in kinds.items()}
    return [
        *(
            bar(f"provider by {name}, Cramer's V (p = {at.p:.3f})", at.cramers_v, "", value_max=DEPENDENCE_MAX)
            for name, at in found.dependences.items()
            if name != "day"
        ),
        bar(
            f"provider by day, Cramer's V (p = {found.dependences['day'].p:.3f})",
            found.dependences["day"].cramers_v,
            "",
        ),
        *(bar(f"net, {name} ({at.low:.3f} to {at.high:.3f})", at.value, one) for name, at in net.items()),
        bar("effective first attempts", found.sizes["greenlane"], "rows"),
        bar("lower bound of greenlane over the log", found.values["greenlane"]["DR"].low - logged, one, value_min=0.0),
        bar("greenlane over cheapest", paired.value, one, value_min=0.0),
        bar("its lower bound", paired.low, one, value_min=-0.2),
        bar("success model, area under ROC", found.success["auc"], "", value_min=0.7),
        bar(
            "success model, log loss",
            found.success["log_loss"],
            "nats",
            reference=found.success["log_loss_of_the_base_rate"],
            ratio_max=1.0,
        ),
    ]


def told(log: Log, verdict: Verdict, found: Found) -> str:
    left_out = sum(verdict.excluded.values())
    lines = [f"  {'pass' if c.passed else 'FAIL'}  {c.name}: {c.value:.4g}" for c in verdict.checks]
    answer = "accepted" if verdict.accepted else "refused: " + "; ".join(verdict.reasons)
    sent = ", ".join(f"{name} {share:.1%}" for name, share in sent_shares(log, found.actions["greenlane"]).items())
    head = f"gate, greenlane against the log on {verdict.units:,} first attempts ({left_out} left out): {answer}"
    plain_ones = [router_line(name, one) for name, one in found.routers.items()]
    return "\n".join([f"greenlane sends: {sent}", head, *lines, *plain_ones])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="the first part of the log, CSV or Parquet")
    parser.add_argument("--test", type=Path, required=True, help="a later part")
    parser.add_argument("--fees", type=Path, required=True, help="psp, fee_success, fee_failure")
    parser.add_argument("--margin", type=float, default=0.05, help="what a shop keeps of a payment's amount")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    log = read_log(args.train, args.test)
    try:
        found = routing(log, read_fees(args.fees, log.psps), margin=args.margin)
    except GreenlaneError as error:
        raise SystemExit(str(error)) from None
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(as_json(log, found, margin=args.margin), indent=2) + "\n")
    print(told(log, found.verdict, found))
    rows = bars(found)
    print(shown(rows))
    return int(any(row.passed is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
