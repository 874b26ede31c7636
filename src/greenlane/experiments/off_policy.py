"""What another policy would have earned on logged traffic, as a paired difference to the policy that was logged.

One factor at a time (the route given the intervention, a release, a challenge swap, a retry), with that factor's
probabilities. Pairing subtracts, row by row, what the logging policy earned by the same formula: what both policies
share cancels, noise included.

    IPW     mean of (w - 1) r
    SNIPW   sum w r / sum w  -  mean r
    direct  mean of  sum_a (pi_e - pi_b)(a) q(a)
    DR      mean of  sum_a (pi_e - pi_b)(a) q(a)  +  (w - 1) (r - q)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from greenlane.errors import InputError
from greenlane.experiments.clusters import Groups
from greenlane.experiments.distributions import student_quantile
from greenlane.experiments.estimators import doubly_robust, ipw
from greenlane.experiments.weights import importance, per_decision
from greenlane.payments.arrays import Flags, Floats, Ints


@dataclass(frozen=True, eq=False)
class Overlap:
    """Where the two policies meet. A row is a decision; of a sequence, a payment at one of its steps."""

    weight: Floats
    """float64[rows]: of a sequence, the product up to this step."""
    weight_before: Floats
    """float64[rows]: the product up to the step before; 1 at the first."""
    target: Floats
    """float64[rows, actions]"""
    logging: Floats
    """float64[rows, actions]"""
    action: Ints
    step: Ints
    taken: Flags
    """False where a payment had ended before this step."""
    groups: Groups
    """By whom, and by when, rows move together."""
    units: int
    """What sums are divided by: decisions, or payments of a sequence."""

    def unsupported(self) -> Floats:
        """float64[rows]: target probability of actions that the log could never have taken."""
        return np.asarray(np.where(self.logging > 0.0, 0.0, self.target).sum(axis=-1) * self.taken)

    def moved(self) -> Floats:
        """float64[rows]: probability that the two policies differ."""
        return np.asarray(np.abs(self.target - self.logging).sum(axis=-1) / 2.0 * self.taken)


def overlap(
    target: Floats, logging: Floats, *, action: Ints, cluster: Ints | None = None, block: Ints | None = None
) -> Overlap:
    """Of single decisions: policies are float64[rows, actions], `action` the one taken, by number.

    `cluster` says whose decision it was (the card), `block` in which stretch of time.

    >>> always, coin = np.array([[1.0, 0.0]] * 4), np.full((4, 2), 0.5)
    >>> overlap(always, coin, action=np.array([0, 1, 0, 1])).weight.tolist()
    [2.0, 0.0, 2.0, 0.0]
    """
    return overlap_of_sequences(
        target[:, None, :],
        logging[:, None, :],
        action=action[:, None],
        steps=np.ones(len(action), np.int64),
        cluster=cluster,
        block=block,
    )


def overlap_of_sequences(
    target: Floats,
    logging: Floats,
    *,
    action: Ints,
    steps: Ints,
    cluster: Ints | None = None,
    block: Ints | None = None,
) -> Overlap:
    """Of retry ladders: policies are float64[payments, steps, actions]; `steps` says how many each payment took."""
    payments, longest, actions = target.shape
    taken = np.arange(longest) < steps[:, None]
    check_policies(target[taken], logging[taken], action[taken])
    ratio = np.ones((payments, longest))
    ratio[taken] = importance(target[taken], logging[taken], action[taken])
    weight = per_decision(ratio)
    before = np.concatenate([np.ones((payments, 1)), weight[:, :-1]], axis=1)
    rows = [np.arange(payments) if cluster is None else cluster] + ([] if block is None else [block])
    return Overlap(
        weight=weight.ravel(),
        weight_before=before.ravel(),
        target=target.reshape(-1, actions),
        logging=logging.reshape(-1, actions),
        action=action.ravel(),
        step=np.tile(np.arange(longest), payments),
        taken=taken.ravel(),
        groups=Groups.of(*(np.repeat(group, longest) for group in rows)),
        units=payments,
    )


def check_policies(target: Floats, logging: Floats, action: Ints) -> None:
    """Every row a distribution, and nothing was done that could not have been."""
    for name, policy in (("target", target), ("logging", logging)):
        if not (policy >= 0.0).all() or not np.allclose(policy.sum(axis=-1), 1.0, atol=1e-6):
            raise InputError(f"the {name} policy's probabilities do not sum to 1", code="invalid_policy", param=name)
    if not (np.take_along_axis(logging, action[:, None], -1) > 0.0).all():
        hint = "leave out overridden and mandated actions, and count them"
        raise InputError("an action was logged with probability 0", code="invalid_policy", param="logging", hint=hint)


@dataclass(frozen=True, eq=False)
class Term:
    """One kind of money, or their sum: float64[rows] each, in money per row."""

    reward: Floats
    predicted: Floats
    """The model's reward of the action taken."""
    under_target: Floats
    """The model's mean reward under the target policy, times the weight before the row."""
    under_logging: Floats
    direct: Floats | None
    """The model's difference between the policies; None without a model."""
    low: Floats
    """The least and the most that can still be earned from this row on: what bounds are made of."""
    high: Floats

    def __add__(self, other: "Term") -> "Term":
        both = None if self.direct is None or other.direct is None else self.direct + other.direct
        return Term(
            self.reward + other.reward,
            self.predicted + other.predicted,
            self.under_target + other.under_target,
            self.under_logging + other.under_logging,
            both,
            self.low + other.low,
            self.high + other.high,
        )


def term(
    seen: Overlap,
    reward: Floats,
    *,
    model: Floats | None = None,
    low: Floats | float | None = None,
    high: Floats | float | None = None,
) -> Term:
    """`reward` is float64[rows]; `model` float64[rows, actions], fitted on other cards than it predicts.

    Of sequences both have [payments, steps] in front, and the model says what is still to come under the target policy.
    `low` and `high` default to the extremes seen.
    """
    money = reward.reshape(-1) * seen.taken
    q = np.zeros_like(seen.target) if model is None else model.reshape(seen.target.shape) * seen.taken[:, None]
    under_target, under_logging = (seen.target * q).sum(axis=-1), (seen.logging * q).sum(axis=-1)
    at_start = seen.step == 0
    single = len(seen.step) == seen.units
    to_come = under_target - under_logging if single else np.where(at_start, under_target, 0.0) - money
    return Term(
        reward=money,
        predicted=np.take_along_axis(q, seen.action[:, None], -1)[:, 0],
        under_target=seen.weight_before * under_target,
        under_logging=under_logging,
        direct=None if model is None else to_come,
        low=spread(money.min() if low is None else low, seen),
        high=spread(money.max() if high is None else high, seen),
    )


def spread(value: Floats | float, seen: Overlap) -> Floats:
    return np.asarray(np.broadcast_to(np.asarray(value, np.float64).reshape(-1), seen.weight.shape) * seen.taken)


@dataclass(frozen=True, eq=False)
class Difference:
    """Target minus logging policy, or the target's own value, in money per unit."""

    value: float
    low: float
    high: float
    se: float
    influence: Floats
    """float64[rows]: what each row adds to the error, summing to 0; two estimates are compared through it."""


def differences(seen: Overlap, money: Term, *, alpha: float = 0.05) -> Mapping[str, Difference]:
    """The four estimates, or three without a model.

    >>> always, coin = np.array([[1.0, 0.0]] * 4), np.full((4, 2), 0.5)
    >>> seen = overlap(always, coin, action=np.array([0, 1, 0, 1]))
    >>> found = differences(seen, term(seen, np.array([3.0, 1.0, 5.0, 1.0])))
    >>> {name: one.value for name, one in found.items()}
    {'DR': 1.5, 'IPW': 1.5, 'SNIPW': 1.5}
    """
    ones = np.ones_like(seen.weight)
    paired = doubly_robust(seen.weight, money.reward, predicted=money.predicted, direct=money.under_target)
    paired -= doubly_robust(ones, money.reward, predicted=money.predicted, direct=money.under_logging)
    found = {
        "DR": mean_difference(seen, paired, alpha=alpha),
        "IPW": mean_difference(seen, ipw(seen.weight, money.reward) - money.reward, alpha=alpha),
        "SNIPW": self_normalised_difference(seen, money.reward, alpha=alpha),
    }
    if money.direct is not None:
        found["direct"] = mean_difference(seen, money.direct, alpha=alpha)
    return found


def mean_difference(seen: Overlap, rows: Floats, *, alpha: float = 0.05) -> Difference:
    return difference(seen, float(rows.sum()) / seen.units, rows - rows.mean(), alpha=alpha)


def self_normalised_difference(seen: Overlap, reward: Floats, *, alpha: float) -> Difference:
    target, pulled = self_normalised_sum(seen, reward, seen.weight)
    logged, kept = self_normalised_sum(seen, reward, np.ones_like(seen.weight))
    return difference(seen, target - logged, pulled - kept, alpha=alpha)


def self_normalised_sum(seen: Overlap, reward: Floats, weight: Floats) -> tuple[float, Floats]:
    """Normalised at each step by itself; and each row's part in the error, to first order (the delta method)."""
    value, influence = 0.0, np.zeros_like(reward)
    for step in range(int(seen.step.max()) + 1):
        at = seen.step == step
        w, r = weight[at], reward[at]
        mean = float(w @ r / w.sum()) if w.sum() > 0.0 else 0.0
        value += mean
        influence[at] = w / max(float(w.mean()), 1e-300) * (r - mean)
    return value, influence


def values(seen: Overlap, money: Term) -> Mapping[str, Difference]:
    """What the target policy itself would have earned: for tables of several policies, compared by `between`.

    >>> always, coin = np.array([[1.0, 0.0]] * 4), np.full((4, 2), 0.5)
    >>> seen = overlap(always, coin, action=np.array([0, 1, 0, 1]))
    >>> {name: one.value for name, one in values(seen, term(seen, np.array([3.0, 1.0, 5.0, 1.0]))).items()}
    {'DR': 4.0, 'SNIPW': 4.0}
    """
    robust = doubly_robust(seen.weight, money.reward, predicted=money.predicted, direct=money.under_target)
    alone, influence = self_normalised_sum(seen, money.reward, seen.weight)
    return {
        "DR": mean_difference(seen, robust),
        "SNIPW": difference(seen, alone, influence),
    }


def between(seen: Overlap, one: Difference, other: Difference, *, alpha: float = 0.05) -> Difference:
    """One estimate minus another of the same rows: what both share cancels."""
    return difference(seen, one.value - other.value, one.influence - other.influence, alpha=alpha)


@cache
def reach(alpha: float, dof: float) -> float:
    """Student's, in standard errors: asked for the same few degrees again and again."""
    return float(student_quantile(alpha, dof))


def difference(seen: Overlap, value: float, influence: Floats, *, alpha: float = 0.05) -> Difference:
    variance, dof = seen.groups.variance(influence / seen.units)
    half = reach(alpha, dof) * variance**0.5
    return Difference(value, value - half, value + half, variance**0.5, influence)
