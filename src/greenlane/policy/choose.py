"""The choice: value every eligible action, take the best, and say what was seen so that anybody can check it later."""

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import Perspective
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import INTERVENTIONS, Action, Eligible
from greenlane.policy.believe import Beliefs, Probabilities, believe, probabilities
from greenlane.policy.degrade import Rung, without_model
from greenlane.policy.distribution import greedy, settled
from greenlane.policy.eligible import eligible
from greenlane.policy.given import Given
from greenlane.policy.history import History, history_of
from greenlane.policy.parameters import Policy, epoch_of
from greenlane.policy.price import price, ways_matrix
from greenlane.policy.value import TERMS, VALUE, values

ROW: Final = {intervention: row for row, intervention in enumerate(INTERVENTIONS)}
UNVALUED: Final = (0,) * len(TERMS)
OTHER: Final[dict[Perspective, Perspective]] = {"merchant": "psp", "psp": "merchant"}


class Chosen(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What was chosen, among what, and why. Money in micro-minor units of the reporting currency."""

    action: Action
    rung: Rung
    may: Eligible
    """The eligible actions, in the one order that values and distribution have."""
    values_micro: tuple[int, ...]
    """In the order of `actions`; () on the rungs that value nothing."""
    distribution: tuple[int, ...]
    """In the order of `actions`; sums to 2^32."""
    terms_micro: tuple[int, ...]
    """Of the action, in the order of `value.TERMS`; they sum to its value."""
    other_terms_micro: tuple[int, ...]
    """The same in the perspective that is not optimised."""
    runner_up: Action | None
    value_gap_micro: int
    probabilities: Probabilities | None
    policy_epoch: int
    policy_version: str
    economics_version: str
    degraded: tuple[str, ...]

    @property
    def actions(self) -> list[Action]:
        """Every eligible action, once: the order of `values_micro` and `distribution`."""
        return self.may.actions

    @property
    def stops(self) -> tuple[str, ...]:
        """Names of the hard constraints that took an action away."""
        return self.may.stops

    @property
    def value_micro(self) -> int:
        return sum(self.terms_micro)

    @property
    def propensity(self) -> int:
        """Of 2^32: how probable the action was."""
        return self.distribution[self.may.place(self.action)]


class Seen(Struct, frozen=True, kw_only=True, gc=False):
    """What the choice looked at; values in the order of the actions."""

    best: int
    next_best: int | None = None
    values_micro: tuple[int, ...] = ()
    terms_micro: tuple[int, ...] = UNVALUED
    other_terms_micro: tuple[int, ...] = UNVALUED
    probabilities: Probabilities | None = None


def choose(
    attempt: Attempt, given: Given, *, economics: Economics, policy: Policy, may: Eligible | None = None
) -> Chosen:
    """The action of highest expected value among the eligible ones.

    Without a fraud probability, or on a rung below the model, the answers are the static ones. Equal values go to the
    action of less friction, then to the lower way. `may` are the eligible actions where the caller asked already.

    >>> from greenlane.payments.attempt import Card, Payment, PaymentMethod
    >>> payment = Payment(id="p", amount=10_000, currency="EUR", merchant_id="m",
    ...                   payment_method=PaymentMethod(card=Card(fingerprint="fp_1", issuer_country="US")))
    >>> chosen = choose(Attempt(attempt_id="a", payment=payment), Given(amount_minor=10_000,
    ...                 fraud_probability_e9=1_000_000), economics=Economics(), policy=Policy(perspective="merchant"))
    >>> chosen.action, round(chosen.value_micro / 1e6)
    (Action(intervention='allow', exemption='', route='default', credential='pan'), 2886)
    """
    history = history_of(attempt) if given.history is None else given.history
    if may is None:
        may = eligible(attempt, given, economics=economics, history=history)
    rung = given.rung
    if given.fraud_probability_e9 is None and rung != "merchant_default":
        rung = "static"
    if rung in ("static", "merchant_default") or given.fraud_probability_e9 is None:
        seen = Seen(best=may.place(without_model(may, attempt, economics, amount_minor=given.amount_minor, rung=rung)))
    elif not may.ways:
        seen = Seen(best=0)
    else:
        seen = look(may, attempt, given, economics=economics, policy=policy, history=history)
    return _record(may, seen, rung, economics=economics, policy=policy, ingest_us=given.ingest_us)


def look(
    may: Eligible, attempt: Attempt, given: Given, *, economics: Economics, policy: Policy, history: History
) -> Seen:
    """The best and the next best of the eligible actions; ties keep the order of the actions."""
    beliefs = believe(attempt, given, may.ways, economics=economics, priors=policy.priors, history=history)
    table = valued(may, beliefs, attempt, given, perspective=policy.perspective, economics=economics, history=history)
    by_intervention = table[:, :, VALUE].tolist()
    worth: list[int] = []
    for intervention, _, ways in may.rows:
        row = by_intervention[ROW[intervention]]
        worth += row if ways.bit_count() == len(row) else [v for at, v in enumerate(row) if ways >> at & 1]
    worth.append(by_intervention[-1][0])
    best = worth.index(max(worth))
    cell, allowed = may.cell(best), by_intervention[0]
    intervention = "block" if cell is None else may.rows[cell[0]].intervention
    column = allowed.index(max(allowed)) if cell is None else cell[1]
    other = valued(
        may, beliefs, attempt, given, perspective=OTHER[policy.perspective], economics=economics, history=history
    )
    return Seen(
        best=best,
        next_best=_next_best(worth, best),
        values_micro=tuple(worth),
        terms_micro=tuple(table[ROW[intervention], column, :VALUE].tolist()),
        other_terms_micro=tuple(other[ROW[intervention], column, :VALUE].tolist()),
        probabilities=probabilities(beliefs, column, dispute_e9=economics.dispute_ppm * 1_000),
    )


def valued(
    may: Eligible,
    beliefs: Beliefs,
    attempt: Attempt,
    given: Given,
    *,
    perspective: Perspective,
    economics: Economics,
    history: History,
) -> NDArray[np.int64]:
    """The value table in one perspective."""
    challengeable = "challenge" in may.interventions
    money = price(attempt, given, perspective, economics=economics, history=history, challengeable=challengeable)
    over = ways_matrix(may, beliefs.approvals, attempt, given, economics=economics, money=money)
    return values(beliefs.fraud_given_history_e9, money, beliefs.payer, over)


def _next_best(worth: list[int], best: int) -> int | None:
    rest = worth[:best] + worth[best + 1 :]
    if not rest:
        return None
    at = rest.index(max(rest))
    return at + 1 if at >= best else at


def _record(may: Eligible, seen: Seen, rung: Rung, *, economics: Economics, policy: Policy, ingest_us: int) -> Chosen:
    distribution, leaked = settled(greedy(may.size, seen.best), best=seen.best)
    worth, runner_up = seen.values_micro, seen.next_best
    return Chosen(
        action=may.action(seen.best),
        rung=rung,
        may=may,
        values_micro=worth,
        distribution=distribution,
        terms_micro=seen.terms_micro,
        other_terms_micro=seen.other_terms_micro,
        runner_up=None if runner_up is None else may.action(runner_up),
        value_gap_micro=0 if runner_up is None else worth[seen.best] - worth[runner_up],
        probabilities=seen.probabilities,
        policy_epoch=epoch_of(ingest_us),
        policy_version=policy.version,
        economics_version=economics.version,
        degraded=(() if rung == "full" else (rung,)) + (("distribution",) if leaked else ()),
    )
