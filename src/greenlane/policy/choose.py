"""The choice: value every eligible action, take the best, and say what was seen so that anybody can check it later."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import Perspective, Stakes
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import INTERVENTIONS, Action, Eligible
from greenlane.policy.believe import Beliefs, Probabilities, believe, probabilities
from greenlane.policy.degrade import Rung, without_model
from greenlane.policy.distribution import greedy
from greenlane.policy.eligible import eligible
from greenlane.policy.explore import Draw, Explored, explore
from greenlane.policy.given import Given
from greenlane.policy.history import History, history_of
from greenlane.policy.parameters import Policy, epoch_of
from greenlane.policy.plain import plainly
from greenlane.policy.price import price, seen_otherwise, ways_matrix
from greenlane.policy.value import TERMS, VALUE, values

ROW: Final = {intervention: row for row, intervention in enumerate(INTERVENTIONS)}
RATES: Final = slice(0, 6)
"""Columns of the matrix of ways: approval of good and of fraudulent payers, in each mode, 1e-9."""
E9: Final = 1e9
UPPER_95: Final = 1.96
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
    explored: Explored
    """The distribution in the order of `actions`, and what was drawn from it."""
    terms_micro: tuple[int, ...]
    """Of the action, in the order of `value.TERMS`; they sum to its value."""
    other_terms_micro: tuple[int, ...]
    """The same in the perspective that is not optimised, where a declined payer is worth V_stop."""
    runner_up: Action | None
    """The best of the actions that were not taken."""
    value_gap_micro: int
    """How much more the action is worth than the runner-up; negative where exploration took a lesser one."""
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
    def distribution(self) -> tuple[int, ...]:
        """In the order of `actions`; sums to 2^32."""
        return self.explored.distribution

    @property
    def value_micro(self) -> int:
        return sum(self.terms_micro)

    @property
    def propensity(self) -> int:
        """Of 2^32: how probable the action was."""
        return self.explored.distribution[self.explored.place]


class Seen(NamedTuple):
    """What the choice looked at; values in the order of the actions."""

    explored: Explored
    next_best: int | None = None
    values_micro: tuple[int, ...] = ()
    terms_micro: tuple[int, ...] = UNVALUED
    other_terms_micro: tuple[int, ...] = UNVALUED
    probabilities: Probabilities | None = None


def choose(
    attempt: Attempt,
    given: Given,
    *,
    economics: Economics,
    policy: Policy,
    may: Eligible | None = None,
    draw: Draw | None = None,
) -> Chosen:
    """The action of highest expected value among the eligible ones, or now and then another, where exploring is given.

    Without a fraud probability, or on a rung below the model, the answers are the static ones. Equal values go to the
    action of less friction, then to the lower way. `may` are the eligible actions where the caller asked already;
    without a `draw` nothing is explored.

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
        action = without_model(may, attempt, economics, amount_minor=given.amount_minor, rung=rung)
        seen = Seen(_certain(may, may.place(action)))
    elif not may.ways:
        seen = Seen(_certain(may, 0))
    else:
        seen = look(may, attempt, given, economics=economics, policy=policy, history=history, draw=draw)
    return _record(may, seen, rung, given=given, economics=economics, policy=policy)


def look(
    may: Eligible,
    attempt: Attempt,
    given: Given,
    *,
    economics: Economics,
    policy: Policy,
    history: History,
    draw: Draw | None = None,
) -> Seen:
    """The value of every eligible action in both perspectives, and what is taken of them."""
    beliefs = believe(attempt, given, may.ways, economics=economics, priors=policy.priors, history=history)
    p_h_e9, ours, theirs = beliefs.fraud_given_history_e9, policy.perspective, OTHER[policy.perspective]
    money, over, table = valued(may, beliefs, attempt, given, perspective=ours, economics=economics, history=history)
    by_intervention = table[:, :, VALUE].tolist()
    worth = in_order(may, by_intervention)
    uppers: list[int] = []
    if draw is not None and given.context is not None and given.context.deviations_millilogit:
        raised = with_upper_approvals(over, given.context.deviations_millilogit)
        uppers = in_order(may, values(p_h_e9, money, beliefs.payer, raised)[:, :, VALUE].tolist())
    explored = taken(may, worth, given, policy=policy, fraud_e9=p_h_e9, draw=draw, uppers=uppers)
    cell, allowed = may.cell(explored.place), by_intervention[0]
    intervention = "block" if cell is None else may.rows[cell[0]].intervention
    column = allowed.index(max(allowed)) if cell is None else cell[1]
    asked = money.challengeable == 1.0
    other = price(attempt, given, theirs, economics=economics, history=history, challengeable=asked)
    others = values(p_h_e9, other, beliefs.payer, seen_otherwise(over, column, other))
    return Seen(
        explored,
        next_best(worth, explored.place),
        tuple(worth),
        tuple(table[ROW[intervention], column, :VALUE].tolist()),
        tuple(others[ROW[intervention], 0, :VALUE].tolist()),
        probabilities(beliefs, column, dispute_e9=economics.dispute_ppm * 1_000),
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
) -> tuple[Stakes, NDArray[np.float64], NDArray[np.int64]]:
    """In one perspective the stakes, the matrix of ways, and the table as `value.values` gives it."""
    asked = "challenge" in may.interventions
    money = price(attempt, given, perspective, economics=economics, history=history, challengeable=asked)
    over = ways_matrix(may, beliefs.approvals, attempt, given, economics=economics, money=money)
    return money, over, values(beliefs.fraud_given_history_e9, money, beliefs.payer, over)


def in_order(may: Eligible, by_intervention: list[list[int]]) -> list[int]:
    """Values in the order of the actions, from lists by intervention and way."""
    worth: list[int] = []
    for intervention, _, ways in may.rows:
        row = by_intervention[ROW[intervention]]
        worth += row if ways.bit_count() == len(row) else [v for at, v in enumerate(row) if ways >> at & 1]
    worth.append(by_intervention[-1][0])
    return worth


def with_upper_approvals(over: NDArray[np.float64], deviations_millilogit: Sequence[int]) -> NDArray[np.float64]:
    """The matrix of ways with approval as good as is still likely: the upper 95 % of its log-odds."""
    raised = over.copy()
    odds = raised[:, RATES] / np.maximum(E9 - raised[:, RATES], 1.0)
    odds *= np.exp(UPPER_95 * np.array(deviations_millilogit, np.float64) / 1e3)[:, None]
    raised[:, RATES] = E9 * odds / (1.0 + odds)
    return raised


def taken(
    may: Eligible,
    worth: list[int],
    given: Given,
    *,
    policy: Policy,
    fraud_e9: int,
    draw: Draw | None,
    uppers: Sequence[int] = (),
) -> Explored:
    """The best action, where there is nothing to explore with; ties keep the order of the actions."""
    if policy.plain is not None:
        return _certain(may, plainly(may, worth, fraud_e9=fraud_e9, plain=policy.plain))
    if given.context is None or draw is None:
        return _certain(may, worth.index(max(worth)))
    context = replace(given.context, fraud_e9=fraud_e9)
    if uppers:  # more approval of a bad payer is worth less: a width is one all the same
        uppers = [value + abs(upper - value) for upper, value in zip(uppers, worth, strict=True)]
    return explore(worth, may, context=context, exploring=policy.exploring, draw=draw, uppers_micro=uppers)


def _certain(may: Eligible, place: int) -> Explored:
    return Explored(distribution=greedy(may.size, place), place=place)


def next_best(worth: Sequence[int], taken: int) -> int | None:
    """The place of the best of the others; None where there is none.

    >>> next_best([5, 7, 7], 1), next_best([5], 0)
    (2, None)
    """
    others = [*worth[:taken], *worth[taken + 1 :]]
    if not others:
        return None
    at = others.index(max(others))
    return at + 1 if at >= taken else at


def _record(may: Eligible, seen: Seen, rung: Rung, *, given: Given, economics: Economics, policy: Policy) -> Chosen:
    worth, explored, runner_up = seen.values_micro, seen.explored, seen.next_best
    rungs = () if rung == "full" else (rung,)
    return Chosen(
        action=may.action(explored.place),
        rung=rung,
        may=may,
        values_micro=worth,
        explored=explored,
        terms_micro=seen.terms_micro,
        other_terms_micro=seen.other_terms_micro,
        runner_up=None if runner_up is None else may.action(runner_up),
        value_gap_micro=0 if runner_up is None else worth[explored.place] - worth[runner_up],
        probabilities=seen.probabilities,
        policy_epoch=epoch_of(given.ingest_us),
        policy_version=policy.version,
        economics_version=economics.version,
        degraded=(*rungs, *given.degraded, *(("distribution",) if explored.degraded else ())),
    )
