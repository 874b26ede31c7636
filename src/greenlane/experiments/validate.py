"""Do the intervals keep their promise? Thousands of simulated experiments whose truth is known, each seeded.

A case is a named world; its study counts how often the truth lay inside. Fixed-size intervals are looked at once,
sequences after every unit up to twice the planned size, off-policy intervals where the gate accepts.
"""

from collections.abc import Callable, Iterator
from math import sqrt
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.experiments.ab import compare, lift, slope
from greenlane.experiments.bootstrap import cluster_bootstrap
from greenlane.experiments.distributions import normal_quantile
from greenlane.experiments.gate import Finding, Verdict, judge
from greenlane.experiments.moments import Moments
from greenlane.experiments.off_policy import overlap, term
from greenlane.experiments.sequences import always_valid, log_evidence_above, mixture_rho
from greenlane.experiments.srm import chi_square_check, sequential_check
from greenlane.payments.arrays import Flags, Floats

Rng = np.random.Generator

ALPHA: Final = 0.05
Z: Final = normal_quantile(1.0 - ALPHA / 2.0)
UNITS: Final = 1_000
"""Per arm, of a fixed-size study; the planned size of a sequence."""
CHUNK: Final = 50
"""Experiments drawn at a time: keeps memory small."""
WIDTH_MAX: Final = 1.6


class Case(Struct, frozen=True):
    name: str
    coverage: float
    """Share of replications whose interval held the truth; of a test, that raised no false alarm."""
    replications: int
    always_valid: bool
    width_ratio: float
    """Median width over that of the fixed-size interval, at the planned size; for what is looked at once, over the
    width that 1.96 true standard deviations of the estimate would give."""


class Found(NamedTuple):
    """Of one chunk."""

    covered: Flags
    width: Floats
    reference: Floats
    """Fixed-size width of sequences; of the others the error of the estimate, whose spread gives it."""


class Study(NamedTuple):
    name: str
    draw: Callable[[Rng, int], Found]
    lowest: float
    highest: float = 1.0
    always_valid: bool = False

    def target(self) -> str:
        """
        >>> STUDIES[0].target()
        '93 to 97'
        """
        return f"{100 * self.lowest:.0f} to {100 * self.highest:.0f}"

    def passes(self, case: Case, slack: float = 0.0) -> bool:
        narrow = not self.always_valid or case.width_ratio <= WIDTH_MAX
        return self.lowest - slack <= case.coverage <= self.highest + slack and narrow


class Arm(NamedTuple):
    """float64[experiments, units] each."""

    y: Floats
    d: Floats
    x: Floats

    def moments(self) -> Moments:
        return Moments.of(*self)


class World(NamedTuple):
    """Units drawn for an arm, which adds `lift` to the metric when treated, and the control's true value."""

    draw: Callable[[Rng, tuple[int, int], float], Arm]
    control: float
    lift: float

    def arms(self, rng: Rng, shape: tuple[int, int]) -> Iterator[Arm]:
        return (self.draw(rng, shape, lift) for lift in (0.0, self.lift))

    def true_effect(self, *, relative: bool) -> float:
        return self.lift / self.control if relative else self.lift


def revenue(rng: Rng, shape: tuple[int, int], lift: float) -> Arm:
    """A mean with a skewed law."""
    return Arm(rng.standard_gamma(2.0, shape) + lift, np.ones(shape), np.zeros(shape))


def approval(rng: Rng, shape: tuple[int, int], lift: float) -> Arm:
    """A share."""
    return Arm((rng.random(shape) < 0.87 + lift).astype(np.float64), np.ones(shape), np.zeros(shape))


def reported(rng: Rng, shape: tuple[int, int], lift: float) -> Arm:
    """A rare event, such as a fraud report."""
    return Arm((rng.random(shape) < 0.005 + lift).astype(np.float64), np.ones(shape), np.zeros(shape))


def with_history(rng: Rng, shape: tuple[int, int], lift: float) -> Arm:
    """A mean of which the time before explains two thirds."""
    x = rng.standard_gamma(2.0, shape)
    return Arm(x + rng.standard_normal(shape) + lift, np.ones(shape), x)


def per_attempt(rng: Rng, shape: tuple[int, int], lift: float) -> Arm:
    """A ratio: approvals over attempts, where those who try three times succeed less often."""
    d = rng.integers(1, 4, shape)
    likely = 0.9 - 0.1 * (d - 1) + 0.1 * (rng.random(shape) - 0.5) + lift
    return Arm(rng.binomial(d, likely).astype(np.float64), d.astype(np.float64), np.zeros(shape))


def in_clusters(rng: Rng, shape: tuple[int, int], lift: float) -> Arm:
    """Merchants of 1 to 20 payments with a mean of their own: a unit is a merchant."""
    d = rng.integers(1, 21, shape).astype(np.float64)
    mean = 5.0 + rng.standard_normal(shape) + lift
    return Arm(d * mean + np.sqrt(d) * 2.0 * rng.standard_normal(shape), d, np.zeros(shape))


REVENUE: Final = World(revenue, control=2.0, lift=0.1)
APPROVAL: Final = World(approval, control=0.87, lift=0.01)
REPORTED: Final = World(reported, control=0.005, lift=0.0)
HISTORY: Final = World(with_history, control=2.0, lift=0.1)
PER_ATTEMPT: Final = World(per_attempt, control=(0.9 + 2 * 0.8 + 3 * 0.7) / 6.0, lift=0.02)
CLUSTERS: Final = World(in_clusters, control=5.0, lift=0.1)


def contains(low: Floats, high: Floats, value: float) -> Flags:
    return np.asarray(np.logical_and(low <= value, value <= high), np.bool_)


def fixed(world: World, *, relative: bool = False, cuped: bool = False, units: int = UNITS) -> Callable[..., Found]:
    """One look, at the end."""
    value = world.true_effect(relative=relative)

    def draw(rng: Rng, count: int) -> Found:
        a, b = (arm.moments() for arm in world.arms(rng, (count, units)))
        found = compare(a, b, relative=relative, theta=slope(a, b) if cuped else 0.0)
        return Found(contains(found.low, found.high, value), found.high - found.low, found.estimate - value)

    return draw


def bootstrapped(world: World, *, units: int) -> Callable[..., Found]:
    """The cluster bootstrap, one look."""
    value = world.true_effect(relative=False)

    def draw(rng: Rng, count: int) -> Found:
        a, b = world.arms(rng, (count, units))
        found = cluster_bootstrap(a[:2], b[:2], seed=int(rng.integers(2**31)), replicates=500)
        return Found(contains(found.low, found.high, value), found.high - found.low, found.estimate - value)

    return draw


def running(arm: Arm) -> Moments:
    """Moments[experiments, units] after each unit."""
    columns = np.stack(arm, axis=-1)
    shift = columns.mean(axis=-2, keepdims=True)
    centred = columns - shift
    n = np.arange(1.0, columns.shape[-2] + 1.0)
    mean = np.cumsum(centred, axis=-2) / n[:, None]
    squares = np.cumsum(centred[..., :, None] * centred[..., None, :], axis=-3)
    comoment = squares - n[:, None, None] * mean[..., :, None] * mean[..., None, :]
    return Moments(np.broadcast_to(n, columns.shape[:-1]), mean + shift, comoment)


def peeked(world: World, *, relative: bool = False, cuped: bool = False) -> Callable[..., Found]:
    """A look after every pair of units, up to twice the planned size; one miss is a miss."""
    value = world.true_effect(relative=relative)

    def draw(rng: Rng, count: int) -> Found:
        a, b = (running(arm) for arm in world.arms(rng, (count, 2 * UNITS)))
        found = lift(a, b, relative=relative, theta=slope(a, b) if cuped else 0.0)
        seen = always_valid(found, planned=2 * UNITS)
        at = UNITS - 1
        return Found(
            np.asarray(contains(seen.low, seen.high, value).all(axis=-1), np.bool_),
            (seen.high - seen.low)[:, at],
            2.0 * Z * found.se[:, at],
        )

    return draw


def never(alarm: Flags) -> Flags:
    """For each experiment: at no look."""
    return np.asarray(~alarm.any(axis=-1), np.bool_)


def ratio_once(rng: Rng, count: int) -> Found:
    """A sample ratio that is as intended, tested once at the end."""
    counts = rng.binomial(2 * UNITS, 0.5, count).astype(np.float64)
    p = np.array([chi_square_check([n, 2 * UNITS - n], [0.5, 0.5]) for n in counts.tolist()])
    error = counts - float(UNITS)
    return Found(p > ALPHA, np.full(count, 2.0 * Z * sqrt(2 * UNITS * 0.25)), error)


def ratio_peeked(rng: Rng, count: int) -> Found:
    """The same, tested after every unit; its width is the imbalance that it would tell."""
    first = np.cumsum(rng.random((count, 4 * UNITS)) < 0.5, axis=-1)
    counts = np.stack([first, np.arange(1, 4 * UNITS + 1) - first], axis=-1)
    alarm = sequential_check(counts, [0.5, 0.5]) <= ALPHA
    told = imbalance_told()
    return Found(never(alarm), np.full(count, told), np.full(count, Z * sqrt(2 * UNITS * 0.25)))


def imbalance_told() -> float:
    """Units over half of the planned size at which the sequential check raises its alarm."""
    over = np.arange(UNITS)
    p = sequential_check(np.stack([UNITS + over, UNITS - over], axis=-1), [0.5, 0.5])
    return float(np.argmax(p <= ALPHA))


def guarded(rng: Rng, count: int) -> Found:
    """A guardrail on an arm that does no harm; its width is the harm that it would tell at the planned size."""
    a, b = (running(approval(rng, (count, 2 * UNITS), 0.0)) for _ in range(2))
    found = lift(a, b)
    se = np.where(found.se > 0.0, found.se, np.inf)
    evidence = log_evidence_above(found.estimate / se, found.units, planned=2 * UNITS, alpha=ALPHA)
    alarm = (evidence > -np.log(ALPHA)) & (found.units >= 50)
    time = 2 * UNITS * mixture_rho(2 * ALPHA, 2 * UNITS) ** 2
    told = sqrt(2.0 * (1.0 + 1.0 / time) * (0.5 * np.log1p(time) - np.log(2.0 * ALPHA)))
    return Found(never(alarm), np.full(count, told), np.full(count, Z))


class Log(NamedTuple):
    """A world of two routes, for off-policy evaluation."""

    rows: int
    fraud_rate: float
    loss_sigma: float
    """Spread of the logarithm of a fraud's loss: at 1 the largest of 200 is a twentieth of their sum."""


CLAIMED: Final = 0.02
"""The effect to be shown, stated before the log is seen."""
FRAUD_LOSS: Final = 4.0
RISK: Final = np.array([1.0, 1.6])
"""Of fraud over each route, relative to the first."""


def approval_of(size: Floats) -> Floats:
    """[..., 2]: over each route; the second is the better for large payments."""
    return np.stack([0.8 - 0.05 * np.tanh(size), 0.8 + 0.05 * np.tanh(size)], axis=-1)


def softmax(preference: Floats) -> Floats:
    """[..., 2]: over two routes with a floor of 5 %."""
    second = 0.05 + 0.9 / (1.0 + np.exp(-preference))
    return np.stack([1.0 - second, second], axis=-1)


def logged_by(size: Floats) -> Floats:
    return softmax(0.4 * size)


def target_of(size: Floats) -> Floats:
    return softmax(1.5 + 0.8 * size)


def true_difference(log: Log) -> float:
    """By Gauss-Hermite quadrature over the payment's size, a standard normal."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    worth = approval_of(nodes) - log.fraud_rate * RISK * FRAUD_LOSS
    return float(mass @ ((target_of(nodes) - logged_by(nodes)) * worth).sum(axis=-1) / mass.sum())


def valued(log: Log) -> Callable[[Rng, int], Found]:
    """One log after the other until `count` were accepted."""
    value = true_difference(log)

    def draw(rng: Rng, count: int) -> Found:
        found = list[Finding]()
        for _ in range(ATTEMPTS_PER_LOG_MAX * count):
            verdict = value_log(log, rng)
            if verdict.accepted:
                found.append(verdict.total)
            if len(found) == count:
                break
        low, high = np.array([one.low for one in found]), np.array([one.high for one in found])
        return Found(contains(low, high, value), high - low, (low + high) / 2.0 - value)

    return draw


ATTEMPTS_PER_LOG_MAX: Final = 10


def value_log(log: Log, rng: Rng) -> Verdict:
    """Draw a log and evaluate the target policy on it, with a model that is somewhat wrong.

    Cards pay about twice, always payments of the same size, so their rows move together.
    """
    n, rows = log.rows, np.arange(log.rows)
    card = rng.integers(0, n // 2, n)
    size = rng.standard_normal(n // 2)[card]
    logging = logged_by(size)
    action = (rng.random(n) < logging[:, 1]).astype(np.int64)
    seen = overlap(target_of(size), logging, action=action, cluster=card, block=rows * 40 // n)
    likely, risk = approval_of(size), log.fraud_rate * RISK
    approved = (rng.random(n) < likely[rows, action]).astype(np.float64)
    terms = {"margin": term(seen, approved, model=likely + 0.02)}
    if log.fraud_rate:
        sizes = rng.lognormal(-(log.loss_sigma**2) / 2.0, log.loss_sigma, n)
        losses = np.where(rng.random(n) < risk[action], -FRAUD_LOSS * sizes, 0.0)
        terms["fraud_loss"] = term(seen, losses, model=np.tile(-0.8 * risk * FRAUD_LOSS, (n, 1)))
    return judge(seen, terms, claimed=CLAIMED)


STUDIES: Final = (
    Study("mean, fixed", fixed(REVENUE), 0.93, 0.97),
    Study("share, fixed", fixed(APPROVAL), 0.93, 0.97),
    Study("mean, relative, fixed", fixed(REVENUE, relative=True), 0.93, 0.97),
    Study("mean, CUPED, fixed", fixed(HISTORY, cuped=True), 0.93, 0.97),
    Study("clusters, delta method, fixed", fixed(CLUSTERS, units=200), 0.93, 0.97),
    Study("clusters, bootstrap, fixed", bootstrapped(CLUSTERS, units=200), 0.93, 0.97),
    Study("ratio, fixed", fixed(PER_ATTEMPT), 0.93, 0.97),
    Study("mean, sequence", peeked(REVENUE), 0.94, always_valid=True),
    Study("share, sequence", peeked(APPROVAL), 0.94, always_valid=True),
    Study("rare share, sequence", peeked(REPORTED), 0.94, always_valid=True),
    Study("mean, relative, sequence", peeked(REVENUE, relative=True), 0.94, always_valid=True),
    Study("mean, CUPED, sequence", peeked(HISTORY, cuped=True), 0.94, always_valid=True),
    Study("clusters, sequence", peeked(CLUSTERS), 0.94, always_valid=True),
    Study("ratio, sequence", peeked(PER_ATTEMPT), 0.94, always_valid=True),
    Study("sample ratio, fixed", ratio_once, 0.93, 0.97),
    Study("sample ratio, sequence", ratio_peeked, 0.95, always_valid=True),
    Study("guardrail, sequence", guarded, 0.95, always_valid=True),
    Study("off-policy", valued(Log(rows=4_000, fraud_rate=0.0, loss_sigma=0.0)), 0.93),
    Study("off-policy, fraud", valued(Log(rows=10_000, fraud_rate=0.02, loss_sigma=0.5)), 0.93),
    Study("off-policy, heavy-tailed fraud", valued(Log(rows=10_000, fraud_rate=0.02, loss_sigma=1.2)), 0.90),
)


def run(study: Study, replications: int, *, rng: Rng, tell: Callable[[int], None]) -> Case:
    parts = list[Found]()
    for start in range(0, replications, CHUNK):
        size = min(CHUNK, replications - start)
        parts.append(study.draw(rng, size))
        tell(size)
    covered, width, reference = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(covered):
        raise InputError(f"{study.name}: nothing could be judged", code="invalid_validation")
    fixed_width = float(np.median(reference)) if study.always_valid else 2.0 * Z * float(reference.std())
    ratio = float(np.median(width)) / fixed_width
    return Case(study.name, float(covered.mean()), len(covered), study.always_valid, ratio)


def validate(
    replications: int, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[Study, Case]]:
    """Every study; each has a stream of random numbers of its own, so that one more changes none of the others."""
    if replications < 2:
        raise InputError("a coverage needs replications", code="invalid_validation", param="replications")
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, replications * len(STUDIES))

    for study in STUDIES:
        name = np.frombuffer(study.name.encode(), np.uint8)
        rng = np.random.default_rng([seed, *name.tolist()])
        yield study, run(study, replications, rng=rng, tell=tell)
