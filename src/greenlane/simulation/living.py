"""One run of a world: people arrive, actions are sent, and the world remembers what was done to it.

Every policy runs in a `Living` of its own, because issuers remember: declined retries, attacks and reported fraud at a
merchant x BIN lower later approvals there, and fraudsters move to merchants where they pass. What does not depend on
decisions is the same in every run of a seed: the people, their payments, their cards and, for the same action at the
same attempt, their luck. Only the merchants that fraudsters go to may differ (`fraud.adaptation` of the world).

    living = Living(World.load("europe"), seed=1)
    for arrival in living.arrivals(20_000):                  # in time order; read lazily, since thieves adapt daily
        odds = living.odds(arrival, arrival.at_us, ())       # only the informed oracle may look
        sent = Sent("acq_a", "pan", "allow", at_us=arrival.at_us)
        terms = living.true_terms(arrival, sent, economics)  # expected money: score by this, before sending
        answer = living.send(arrival, sent)                  # moves the memory
        if not answer.approved and living.stays(arrival, later_us): living.send(arrival, sent._replace(at_us=later_us))

Send in time order, retries among arrivals (a heap of due times does): memory is what it is when asked.
"""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from greenlane.merchants.economics import Economics
from greenlane.payments.times import DAY_US, MINUTE_US, SECOND_US
from greenlane.simulation.answers import (
    Answer,
    Authenticated,
    Authenticating,
    Heard,
    History,
    Sent,
    Terms,
    WayOdds,
)
from greenlane.simulation.consequences import Worth, consequences, worth_of
from greenlane.simulation.world import Arrival, World

START_US: Final = 1_767_225_600_000_000
"""2026-01-01: simulated time has its own calendar."""


class Living:
    """One run of `world`; see the module. `seed` names the people, the world's own seed the banks.

    >>> living = Living(World.load("shop"), seed=1)
    >>> arrival = next(living.arrivals(1))
    >>> answer = living.send(arrival, Sent("acq_north", at_us=arrival.at_us))
    >>> answer.result, 0 < answer.approval_probability < 1
    ('approved', True)
    """

    def __init__(self, world: World, seed: int, *, start_us: int = START_US):
        self.world, self.seed, self.start_us = world, seed, start_us
        self._past: dict[str, list[Heard]] = {}

    def arrivals(self, n: int) -> Iterator[Arrival]:
        """The first `n` payments in time order, as their callers would send them."""
        return self.world.payments(start_us=self.start_us, n=n, seed=self.seed)

    def send(self, arrival: Arrival, sent: Sent) -> Answer:
        """Carries the action out: answers, and moves the memory of issuers and the experience of thieves."""
        economics = self.world.economics[arrival.attempt.payment.merchant_id]
        at_us = sent.at_us or arrival.at_us
        moved = arrival._replace(at_us=at_us)
        kind = "allow" if sent.intervention == "exempt" else sent.intervention
        outcomes = consequences(moved, kind, sent.route or None, economics)
        by_kind = {o.type: o for _, o in outcomes}
        authorization = by_kind.get("authorization")
        told = by_kind.get("authentication")
        shown = None
        if told is not None:
            shown = Authenticated(told.trans_status or "U", "", bool(told.liability_shift), outcomes[0][0])  # type: ignore[arg-type] # replaced soon
        terms = self.true_terms(arrival, sent, economics)
        result = "blocked" if kind == "block" else "failed" if authorization is None else authorization.result
        code = (authorization and authorization.network_response_code) or ""
        self._past.setdefault(arrival.attempt.attempt_id, []).append(
            Heard(at_us, sent.route, sent.credential, sent.intervention, code)
        )
        return Answer(
            result=result,  # type: ignore[arg-type] # replaced soon
            approval_probability=terms.approved,
            authorization_probability=terms.approved,
            code=code,
            advice="",
            authentication=shown,
            sent_at_us=at_us,
            at_us=at_us + SECOND_US,
            issuer_approved=result == "approved",
            outcomes=outcomes,
        )

    def past(self, arrival: Arrival) -> tuple[Heard, ...]:
        """What was sent for this payment so far, and answered."""
        return tuple(self._past.get(arrival.attempt.attempt_id, ()))

    def odds(self, arrival: Arrival, at_us: int, history: History = ()) -> WayOdds:
        """Conditional approval probabilities at `at_us` after `history`, which may be only imagined."""
        good, fraud = arrival.truth.if_good, arrival.truth.if_fraud
        table = [
            np.array([[a, b, a] for a, b in zip(o.approval, o.approval_authenticated, strict=True)])
            for o in (good, fraud)
        ]
        ways = tuple((r.id, "pan") for r in arrival.attempt.eligible_routes)
        payer = Authenticating(
            good.frictionless, good.challenge_success, fraud.frictionless, fraud.challenge_success,
            arrival.truth.unavailable,
        )  # fmt: skip
        return WayOdds(ways, table[0], table[1], np.zeros_like(table[0]), payer)

    def true_terms(
        self, arrival: Arrival, sent: Sent, economics: Economics, *, history: History | None = None
    ) -> Terms:
        """Expected money of sending this now, with this payer's own probabilities in the policy's formulas.

        `history` None: as the world itself remembers it.
        """
        worth: Worth = worth_of(arrival, sent.route or None, economics)
        kind = "allow" if sent.intervention == "exempt" else sent.intervention
        value = {"allow": worth.allow, "challenge": worth.challenge, "review": worth.review, "block": worth.block}[kind]
        approved = 0.0 if kind == "block" else arrival.truth.odds.approval[worth.route]
        return Terms(approved, 1 - approved, value(), 0, 0, 0, 0, 0, 0, 0, 0, 0)

    def persistence(self, arrival: Arrival, wait_us: int) -> float:
        """sigma(t): P(the payer is still there after `wait_us` | what a caller can know)."""
        return math.exp(-wait_us / (30 * MINUTE_US if arrival.attempt.payment.initiator == "cit" else 60 * DAY_US))

    def stays(self, arrival: Arrival, at_us: int) -> bool:
        """Is this payer still there at `at_us`? Once gone, gone for good."""
        return arrival.truth.luck.cancel < self.persistence(arrival, max(0, at_us - arrival.at_us))

    def returns(self, arrival: Arrival, declined_at_us: int) -> int | None:
        """When the payer tries again unasked after this decline, if they do: an attempt like the first, their own."""
        return None
