"""From courses to figures: each with its interval, and every policy against the best baseline and the oracle, paired.

A course is one policy's way through one seed of a world. Equal seeds bring equal people and equal luck, so differences
are taken payment by payment. Intervals cluster by payer and by seed (`experiments.clusters`): the wider of the two.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.experiments.clusters import Groups
from greenlane.experiments.off_policy import reach

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Triple = tuple[float, float, float]
"""Mean, and the ends of its 95 % interval."""

ALPHA: Final = 0.05
ORACLE: Final = "informed_oracle"
JOINT: Final = "joint"
ABLATION: Final = "joint_without_"
NO_BAR: Final = frozenset({JOINT, ORACLE, "clairvoyant"})
CURVE_POINTS: Final = 40


class Tally(NamedTuple):
    """Sums over one course. Expected ones (approvals, reports, fees) are taken with the world's own probabilities."""

    attempts: int = 0
    attempts_approved: float = 0.0
    """Expected."""
    payments_approved: int = 0
    reported: float = 0.0
    """Expected third-party fraud reports."""
    fees_minor: float = 0.0
    challenges: int = 0
    exemptions: int = 0
    reviews: int = 0
    blocks: int = 0
    retries: int = 0
    forbidden_retries: int = 0
    explored: int = 0
    exploration_minor: float = 0.0
    """Charged to the exploration budgets at the draw: the upper 95 % expected loss."""


class Course(NamedTuple):
    policy: str
    seed: int
    net_minor: Floats
    """float64[payments]: true expected money of each payment, over all its stages, in order of arrival."""
    payer: Ints
    """int64[payments]."""
    tally: Tally
    seconds: float
    """CPU time of policy and world together."""


class Figures(Struct, frozen=True, kw_only=True):
    """One line of the table; money in minor units, rates in the unit named."""

    net_per_1000: Triple
    regret_per_1000: Triple
    """To the informed oracle, paired."""
    attempt_approval_pct: float
    payment_approval_pct: float
    reported_fraud_bps: float
    """Expected reports over expected approvals."""
    fees_per_1000: float
    challenges_per_1000: float
    exemptions_per_1000: float
    reviews_per_1000: float
    blocks_per_1000: float
    retries_per_1000: float
    forbidden_retries: int
    explored_per_1000: float
    exploration_per_1000: float
    cpu_us_per_payment: float


class Evaluated(Struct, frozen=True, kw_only=True):
    """The JSON of `greenlane evaluate policies`. Money is minor units of `currency`."""

    world: str
    world_hash: str
    currency: str
    seeds: int
    payments: int
    """Per seed."""
    policies: dict[str, Figures]
    best_baseline: str
    paired: dict[str, Triple]
    """Differences per 1,000 payments."""
    regret_ratio: float
    """Joint's regret over the best baseline's."""
    learning: dict[str, list[float]]
    """Each policy's regret per 1,000 in equal parts of the time, seeds together."""


def evaluated(courses: Sequence[Course], *, world: str, world_hash: str, currency: str, payments: int) -> Evaluated:
    """Every figure from the courses of at least the joint policy, the oracle and one baseline, over the same seeds."""
    together = {
        name: Together.of([c for c in courses if c.policy == name]) for name in dict.fromkeys(c.policy for c in courses)
    }
    oracle, joint = together[ORACLE], together[JOINT]
    baselines = {name: one for name, one in together.items() if name not in NO_BAR and not name.startswith(ABLATION)}
    best = max(baselines, key=lambda name: float(baselines[name].net.mean()))
    regrets = {name: oracle.less(one) for name, one in together.items()}
    base = regrets[best][0]
    return Evaluated(
        world=world,
        world_hash=world_hash,
        currency=currency,
        seeds=len({c.seed for c in courses}),
        payments=payments,
        policies={name: one.figures(regrets[name]) for name, one in together.items()},
        best_baseline=best,
        paired={"joint_minus_best_baseline": joint.less(together[best])}
        | {f"joint_minus_{name}": joint.less(one) for name, one in together.items() if name != JOINT},
        regret_ratio=regrets[JOINT][0] / base if base > 0.0 else float("nan"),
        learning={name: oracle.curve_against(one) for name, one in together.items()},
    )


class Together(NamedTuple):
    """All courses of one policy, seeds one after another."""

    net: Floats
    payer: Ints
    """Numbered over all seeds: payers of different seeds are different people."""
    seed: Ints
    place: Floats
    """0..1: when in its seed."""
    tally: Mapping[str, float]
    seconds: float

    @classmethod
    def of(cls, courses: Sequence[Course]) -> "Together":
        ordered = sorted(courses, key=lambda course: course.seed)
        seed = np.concatenate([np.full(len(c.net_minor), c.seed, np.int64) for c in ordered])
        payer = np.concatenate([c.payer for c in ordered])
        return cls(
            net=np.concatenate([c.net_minor for c in ordered]),
            payer=np.unique(np.column_stack([seed, payer]), axis=0, return_inverse=True)[1].astype(np.int64).ravel(),
            seed=seed,
            place=np.concatenate([np.arange(len(c.net_minor)) / len(c.net_minor) for c in ordered]),
            tally={field: float(sum(getattr(c.tally, field) for c in ordered)) for field in Tally._fields},
            seconds=sum(c.seconds for c in ordered),
        )

    def less(self, other: "Together") -> Triple:
        """This policy's net per 1,000 payments less the other's, payment by payment."""
        return self.interval(self.net - other.net)

    def interval(self, rows: Floats) -> Triple:
        """The mean of `rows` per 1,000 payments.

        >>> one = Together(np.ones(4), np.arange(4), np.array([0, 0, 1, 1]), np.zeros(4), {}, 0.0)
        >>> one.interval(one.net)
        (1000.0, 1000.0, 1000.0)
        """
        mean = float(rows.mean())
        groupings = [self.payer] if len(set(self.seed.tolist())) == 1 else [self.payer, self.seed]
        variance, dof = Groups.of(*groupings).variance(rows / len(rows))
        half = reach(ALPHA, dof) * variance**0.5
        return 1_000.0 * mean, 1_000.0 * (mean - half), 1_000.0 * (mean + half)

    def curve_against(self, other: "Together") -> list[float]:
        part = np.minimum((self.place * CURVE_POINTS).astype(np.int64), CURVE_POINTS - 1)
        size = np.maximum(np.bincount(part, minlength=CURVE_POINTS), 1)
        gap = np.bincount(part, self.net - other.net, minlength=CURVE_POINTS)
        return [round(value, 1) for value in (1_000.0 * gap / size).tolist()]

    def figures(self, regret: Triple) -> Figures:
        tally, n = self.tally, len(self.net)

        def per_1000(field: str) -> float:
            return 1_000.0 * tally[field] / n

        return Figures(
            net_per_1000=self.interval(self.net),
            regret_per_1000=regret,
            attempt_approval_pct=100.0 * tally["attempts_approved"] / max(tally["attempts"], 1.0),
            payment_approval_pct=100.0 * tally["payments_approved"] / n,
            reported_fraud_bps=10_000.0 * tally["reported"] / max(tally["attempts_approved"], 1.0),
            fees_per_1000=per_1000("fees_minor"),
            challenges_per_1000=per_1000("challenges"),
            exemptions_per_1000=per_1000("exemptions"),
            reviews_per_1000=per_1000("reviews"),
            blocks_per_1000=per_1000("blocks"),
            retries_per_1000=per_1000("retries"),
            forbidden_retries=int(tally["forbidden_retries"]),
            explored_per_1000=per_1000("explored"),
            exploration_per_1000=per_1000("exploration_minor"),
            cpu_us_per_payment=1e6 * self.seconds / n,
        )


def table(found: Evaluated) -> list[list[str]]:
    """Header and one row for each policy, best first, as plain text: for the terminal and for Markdown alike."""
    order = sorted(found.policies.items(), key=lambda item: -item[1].net_per_1000[0])
    return [["policy", *SHOWN], *([name, *(show(one) for show in SHOWN.values())] for name, one in order)]


SHOWN: Final[Mapping[str, Callable[[Figures], str]]] = {
    "net per 1,000": lambda one: money(one.net_per_1000[0]),
    "95 %": lambda one: f"{money(one.net_per_1000[1])} to {money(one.net_per_1000[2])}",
    "regret per 1,000": lambda one: money(one.regret_per_1000[0]),
    "approval of attempts": lambda one: f"{one.attempt_approval_pct:.1f} %",
    "of payments": lambda one: f"{one.payment_approval_pct:.1f} %",
    "fraud bps": lambda one: f"{one.reported_fraud_bps:.1f}",
    "fees per 1,000": lambda one: money(one.fees_per_1000),
    "challenges": lambda one: f"{one.challenges_per_1000:.0f}",
    "exemptions": lambda one: f"{one.exemptions_per_1000:.0f}",
    "reviews": lambda one: f"{one.reviews_per_1000:.1f}",
    "blocks": lambda one: f"{one.blocks_per_1000:.1f}",
    "retries": lambda one: f"{one.retries_per_1000:.0f}",
    "forbidden": lambda one: str(one.forbidden_retries),
}


def money(minor: float) -> str:
    """Minor units as whole major units.

    >>> money(1_234_567.0)
    '12,346'
    """
    return f"{minor / 100:,.0f}"
