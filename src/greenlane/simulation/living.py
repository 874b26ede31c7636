"""One run of a world: people arrive, actions are sent, and the world remembers what was done to it.

Every policy runs in a `Living` of its own, because issuers remember: declined retries, attacks and reported fraud at a
merchant x card range lower later approvals there, and fraudsters move to merchants where they pass. What does not
depend on decisions is the same in every run of a seed: the people, their payments, their cards, the outages and, for
the same action at the same attempt, their luck. Only the merchants that fraudsters go to, and what they pay there, may
differ (`fraud.adaptation` of the world).

    living = Living(World.load("europe"), seed=1)
    for arrival in living.arrivals(20_000):                  # in time order; read lazily, since thieves adapt daily
        sent = Sent("acq_rhine", "pan", "challenge", at_us=arrival.at_us)
        terms = living.true_terms(arrival, sent, economics)  # expected money: score by this, before sending
        answer = living.send(arrival, sent)                  # moves the memory
        odds = living.odds(arrival, later_us, living.past(arrival))     # only the informed oracle may look
        if not answer.approved and living.stays(arrival, later_us):
            living.send(arrival, sent._replace(at_us=later_us, attempt_no=2))

Send in time order, retries among arrivals (a heap of due times does): memory is what it is when asked.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from greenlane.errors import InputError
from greenlane.merchants.economics import Economics
from greenlane.payments.times import DAY_US, MINUTE_US
from greenlane.simulation.answers import (
    EXEMPT,
    PLAIN,
    Answer,
    Authenticated,
    Authenticating,
    Heard,
    History,
    Sent,
    Terms,
    WayOdds,
)
from greenlane.simulation.consequences import LATE_APPROVALS, Luck, Story, settle
from greenlane.simulation.memory import Memory
from greenlane.simulation.parameters import Acquiring
from greenlane.simulation.randomness import Indexes, Reals, uniforms, word
from greenlane.simulation.recovery import ASKED, FUNDS, Declined, Recovery, cause_of
from greenlane.simulation.response import (
    FRAUD_SHIFT,
    HOUR,
    LIMIT,
    LOG_AMOUNT,
    MODES,
    NUMBER_WORKS,
    Table,
    respond,
)
from greenlane.simulation.truth import LARGE, MUCH_FRICTIONLESS
from greenlane.simulation.weather import Weather
from greenlane.simulation.world import Arrival, World
from greenlane.simulation.worth import VALUES, Chances, money_of

START_US: Final = 1_767_225_600_000_000
"""2026-01-01: simulated time has its own calendar."""
MERCHANT_PATIENCE_DAYS: Final = 45.0
"""How long a merchant-initiated payment can wait, in the mean."""
EXPERIENCE: Final = 0.08
"""Weight of one attempt in what thieves know of a merchant."""
EXPIRED_WORKS: Final = 0.02
DRAWS: Final = (*Luck._fields, "code")
WORDS: Final = np.concatenate([word(purpose) for purpose in DRAWS])
PATIENCE: Final = word("patience")

CREDENTIALS: Final = ("pan", "network_token")

Declines = list[Declined]
Ways = tuple[tuple[tuple[str, str], ...], Indexes, Indexes]
"""(route, credential) of each way, and its place in both axes of a table."""


@dataclass
class Course:
    """How one payment went so far."""

    past: list[Heard] = field(default_factory=list)
    declines: Declines = field(default_factory=list)
    code: str = ""
    passed: bool = False


class Living:
    """One run of `world`; see the module. `seed` names the people and the weather, the world's own seed the banks.

    >>> living = Living(World.load("europe"), seed=1)
    >>> arrival = next(living.arrivals(1))
    >>> answer = living.send(arrival, Sent("acq_rhine", at_us=arrival.at_us))
    >>> 0 < answer.approval_probability < 1
    True
    """

    def __init__(self, world: World, seed: int, *, start_us: int = START_US):
        self.world, self.seed, self.start_us = world, seed, start_us
        parameters = world.parameters
        self.weather = Weather(parameters, issuers=len(world.banks.issuer_country), seed=seed)
        self._recovery = Recovery(parameters)
        self.memory = Memory(parameters.memory)
        self._stopped = np.full(len(parameters.merchants), 0.5)
        self._courses: dict[str, Course] = {}
        self._place = {route.id: place for place, route in enumerate(parameters.routes)}
        self._ways = {token: _ways_of(parameters.routes, token=token) for token in (False, True)}
        self._codes_upto = [np.cumsum(shares, axis=1).tolist() for shares in world.oracle.decline_shares]
        self._typical_fraud = _typical_shift(world)
        self._u = np.empty(len(DRAWS))
        self._last_table: tuple[tuple[int, int, bool], Table, Reals] | None = None

    def arrivals(self, n: int) -> Iterator[Arrival]:
        """The first `n` payments in time order, as their callers would send them."""
        return self.world.payments(start_us=self.start_us, n=n, seed=self.seed, stopped=self._stopped)

    def send(self, arrival: Arrival, sent: Sent) -> Answer:
        """Carries the action out: answers, and moves the memory of issuers and the experience of thieves."""
        sent = sent if sent.at_us else sent._replace(at_us=arrival.at_us)
        course = self._courses.setdefault(arrival.attempt.attempt_id, Course())
        story = self._story(arrival, sent, course)
        chances = story.chances
        answer = settle(story)._replace(approval_probability=_approval(chances, sent, passed=course.passed))
        self._remember(arrival, sent, answer, course)
        return answer

    def authenticate(self, arrival: Arrival, sent: Sent) -> Authenticated:
        """3-D Secure alone: what is sent afterwards by `allow` then goes authenticated, if it was passed."""
        course = self._courses.setdefault(arrival.attempt.attempt_id, Course())
        shown = self._story(arrival, sent, course).authenticated()
        course.passed |= shown.shifted
        return shown

    def past(self, arrival: Arrival) -> tuple[Heard, ...]:
        """What was sent for this payment so far, and answered."""
        course = self._courses.get(arrival.attempt.attempt_id)
        return tuple(course.past) if course else ()

    def authenticated(self, arrival: Arrival) -> bool:
        """Has this payment passed 3-D Secure?"""
        course = self._courses.get(arrival.attempt.attempt_id)
        return course is not None and course.passed

    def odds(self, arrival: Arrival, at_us: int, history: History = ()) -> WayOdds:
        """Conditional approval probabilities at `at_us` after `history`, which may be only imagined.

        They are the means over what no caller can know: which day a payer is paid, given the retries that failed so
        far, and whether an expired card was renewed. `fraud` is of a thief after goods, not of one who tests cards.
        """
        token = arrival.attempt.payment.payment_method.card.token  # type: ignore[union-attr] # all pay by card here
        ways, routes, credentials = self._ways[token is not None]
        return WayOdds(ways, self._typical(arrival, at_us, history)[routes, credentials])

    def odds_over(self, arrival: Arrival, sent: Sent, history: History) -> list[float]:
        """The same of a good payer over one way: by mode."""
        place, token = self._at(arrival, sent)
        found: list[float] = self._typical(arrival, sent.at_us, history)[place, token, :, 0].tolist()
        return found

    def _typical(self, arrival: Arrival, at_us: int, history: History) -> Table:
        declines = self._declines_of(arrival, history)
        row = np.array(arrival.truth.case.row)
        row[FRAUD_SHIFT] = self._typical_fraud
        return self._table(arrival, row, at_us, declines, paid=self._paid_if_unknown(declines, at_us))[0]

    def authentication_odds(self, arrival: Arrival) -> Authenticating:
        """3-D Secure at this issuer, for a good payer and for a typical thief."""
        oracle, case = self.world.oracle, arrival.truth.case
        much = case.row[LOG_AMOUNT] > self.world.banks.issuers[case.issuer, LIMIT] - LARGE
        frictionless = float(oracle.frictionless[case.issuer]) * (MUCH_FRICTIONLESS if much else 1.0)
        world = self.world.parameters
        return Authenticating(
            frictionless,
            float(oracle.success[case.issuer]),
            frictionless * world.authentication.fraud_frictionless_factor,
            world.fraud.stolen_card.challenge_success,
            world.authentication.unavailable,
        )

    def true_terms(self, arrival: Arrival, sent: Sent, economics: Economics) -> Terms:
        """Expected money of sending this now, with this payer's own probabilities in the policy's formulas.

        The world's own memory of the payment counts: what was declined before, and whether it was authenticated.
        """
        course = self._courses.get(arrival.attempt.attempt_id) or Course()
        chances = self._chances(arrival, sent if sent.at_us else sent._replace(at_us=arrival.at_us), course)
        money = money_of(
            arrival.attempt, arrival.truth, chances, economics, route=sent.route, credential=sent.credential,
            shifted=course.passed, exemption=sent.exemption,
        )  # fmt: skip
        return VALUES[sent.intervention](money)

    def persistence(self, arrival: Arrival, wait_us: int) -> float:
        """sigma(t): P(the payer is still there `wait_us` after the payment began | what a caller can know)."""
        if arrival.attempt.payment.initiator == "mit":
            return math.exp(-wait_us / (MERCHANT_PATIENCE_DAYS * DAY_US))
        return math.exp(-wait_us / (self.world.parameters.payers.patience_minutes * MINUTE_US))

    def stays(self, arrival: Arrival, at_us: int) -> bool:
        """Is this payer still there at `at_us`? Once gone, gone for good."""
        patience = np.empty(1)
        uniforms(np.uint64(arrival.truth.case.luck), 0, 0, PATIENCE, patience)
        return bool(patience[0] < self.persistence(arrival, max(0, at_us - arrival.at_us)))

    def _story(self, arrival: Arrival, sent: Sent, course: Course) -> Story:
        case = arrival.truth.case
        uniforms(np.uint64(case.luck), sent.attempt_no, self._place.get(sent.route, 0), WORDS, self._u)
        *luck, code = self._u.tolist()
        economics = self.world.economics[arrival.attempt.payment.merchant_id]
        return Story(
            arrival,
            sent,
            self._chances(arrival, sent, course),
            luck=Luck(*luck),
            code=self._code(arrival, course, code),
            shifted=economics.shifted_ppm / 1e6,
            passed=course.passed,
            timeouts=self.world.parameters.outages.timeouts,
        )

    def _chances(self, arrival: Arrival, sent: Sent, course: Course) -> Chances:
        """Of this very payer."""
        truth, cells = arrival.truth, (0.0,) * 5
        broken, late = 0.0, 1.0
        if sent.intervention != "block":
            place, token = self._at(arrival, sent)
            table, health = self._own_table(arrival, sent, course)
            kind, here = int(truth.fraud), table[place, token].tolist()
            cells = (*(mode[kind] for mode in here), here[PLAIN][2], here[EXEMPT][2])
            broken = 1.0 - float(health[place])
            if 0 < broken < 1:
                late += broken / (1 - broken) * self.world.parameters.outages.timeouts * LATE_APPROVALS
        plain, authenticated, exempt, soft_plain, soft_exempt = cells
        return Chances(
            plain, authenticated, exempt, soft_plain, soft_exempt, truth.unavailable, truth.frictionless,
            truth.challenge_success, truth.review_cancel, truth.review_release, broken, late,
        )  # fmt: skip

    def _own_table(self, arrival: Arrival, sent: Sent, course: Course) -> tuple[Table, Reals]:
        """The last one is kept: what is scored is sent next, mostly."""
        key = arrival.truth.case.luck, sent.at_us, sent.corrected
        if self._last_table is None or self._last_table[0] != key:
            case = arrival.truth.case
            row = np.array(case.row)
            if case.expired:
                row[NUMBER_WORKS] = 1.0 if case.renewed else EXPIRED_WORKS
            paid = self._paid(course.declines, case.payday, sent.at_us)
            found = self._table(arrival, row, sent.at_us, course.declines, paid=paid, corrected=sent.corrected)
            self._last_table = key, *found
        return self._last_table[1:]

    def _table(
        self, arrival: Arrival, row: Reals, at_us: int, declines: Declines, *, paid: float, corrected: bool = False
    ) -> tuple[Table, Reals]:
        """([routes, credentials, modes, (good, fraud, soft)], health of the routes) at a moment."""
        case, banks = arrival.truth.case, self.world.banks
        row[HOUR] = at_us / 3.6e9 % 24
        over, issuer = banks.overs[case.issuer], banks.issuers[case.issuer]
        lost = self.memory.drop(case.merchant, case.card_range, at_us)
        health = self.weather.at(at_us, case.issuer)
        out = np.empty((len(health), 2, MODES, 3))
        again = self._recovery.after(declines, over, at_us=at_us, paid_share=paid, corrected=corrected)
        drift = banks.drift(self.seed, at_us // DAY_US)[case.issuer]
        respond(row, issuer, over, drift, health, lost, again, out)
        return out, health

    def _paid(self, declines: Declines, payday: int, at_us: int) -> float:
        if not declines or declines[-1].cause != FUNDS:
            return 0.0
        return self._recovery.paid_share(payday, declines[-1].at_us, at_us)

    def _paid_if_unknown(self, declines: Declines, at_us: int) -> float:
        """The mean over paydays, given that the retries so far failed: Bayes, each failure's share by the payday."""
        if not declines or declines[-1].cause != FUNDS:
            return 0.0
        recovery = self._recovery
        weights = recovery.payday_shares.copy()
        for before, after in pairwise(declines):
            if before.cause == FUNDS:
                weights *= [
                    1.0 - recovery.funds_share(recovery.paid_share(p, before.at_us, after.at_us))
                    for p in range(len(weights))
                ]
        shares = [recovery.paid_share(p, declines[-1].at_us, at_us) for p in range(len(weights))]
        return float(weights @ shares / weights.sum())

    def _declines_of(self, arrival: Arrival, history: History) -> Declines:
        network = "visa" if arrival.truth.case.visa else "mastercard"
        found = []
        for p in history:
            if p.code == "00" or not p.route or (p.code == "" and p.intervention in ("challenge", "review")):
                continue
            cause = cause_of(p.code, network)
            authenticated = p.intervention == "challenge" and cause != ASKED
            token = int(p.credential == "network_token")
            found.append(Declined(p.at_us, self._place.get(p.route, 0), token, authenticated, cause))
        return found

    def _at(self, arrival: Arrival, sent: Sent) -> tuple[int, int]:
        place = self._place.get(sent.route)
        if place is None:
            names = ", ".join(route.id for route in arrival.attempt.eligible_routes)
            raise InputError(f"this world has no route {sent.route!r}", code="unknown_route", hint=f"one of: {names}")
        return place, int(sent.credential == "network_token")

    def _code(self, arrival: Arrival, course: Course, draw: float) -> str:
        """Of a decline: what the last one said, or one of the issuer's mix for such payers."""
        again = self.world.parameters.recovery.repeats_code
        if course.code and cause_of(course.code, "") != ASKED:
            if draw < again:
                return course.code
            draw = (draw - again) / (1 - again)
        case, oracle = arrival.truth.case, self.world.oracle
        if case.expired and not case.renewed:
            return "54"
        upto = self._codes_upto[case.who][case.issuer]
        return oracle.codes[case.who][min(bisect_right(upto, draw * upto[-1]), len(upto) - 1)]

    def _remember(self, arrival: Arrival, sent: Sent, answer: Answer, course: Course) -> None:
        truth, case = arrival.truth, arrival.truth.case
        self._last_table = None
        if truth.fraud:
            self._stopped[case.merchant] += EXPERIENCE * (float(not answer.approved) - self._stopped[case.merchant])
        if sent.intervention == "block":
            return
        course.past.append(Heard(answer.sent_at_us, sent.route, sent.credential, sent.intervention, answer.code))
        course.passed |= answer.authentication is not None and answer.authentication.shifted
        if answer.result == "declined":
            self.memory.declined(case.merchant, case.card_range, answer.at_us, retry=bool(course.declines))
        if answer.result in ("declined", "unknown", "not_sent"):
            place, token = self._at(arrival, sent)
            cause = cause_of(answer.code, "visa" if case.visa else "mastercard")
            course.declines.append(Declined(answer.at_us, place, token, course.passed, cause))
            course.code = answer.code
        if answer.approved and truth.would_be_reported:
            delay_us = truth.dispute_delay_us if truth.brings == "dispute" else truth.report_delay_us
            self.memory.will_be_reported(case.merchant, case.card_range, answer.at_us + delay_us)


def _approval(chances: Chances, sent: Sent, *, passed: bool) -> float:
    """P(this action ends approved)."""
    asked = chances.authenticated if passed else chances.plain
    if sent.intervention == "challenge":
        asked = chances.passed * chances.authenticated + chances.unavailable * asked
    elif sent.intervention == "exempt" and not passed:
        asked = (1 - chances.soft_exempt) * chances.exempt
    elif sent.intervention == "review":
        asked *= (1 - chances.review_cancel) * chances.review_release
    return 0.0 if sent.intervention == "block" else min(1.0, asked * chances.late)


def _ways_of(routes: Sequence[Acquiring], *, token: bool) -> Ways:
    """The ways of a card, and where in a table each stands."""
    cells = [
        (place, credential)
        for place, route in enumerate(routes)
        for credential, name in enumerate(CREDENTIALS)
        if name in route.credentials and (name == "pan" or token)
    ]
    places, credentials = np.array(cells).T
    return tuple((routes[place].id, CREDENTIALS[credential]) for place, credential in cells), places, credentials


def _typical_shift(world: World) -> float:
    """What the approval of thieves who are after goods loses, by how many attempts of each kind there are."""
    after_goods = [world.parameters.fraud.stolen_card, world.parameters.fraud.account_takeover]
    attempts = np.array([scheme.episodes_per_day * scheme.attempts_mean for scheme in after_goods]) + 1e-9
    return float(attempts @ [scheme.approval_log_odds for scheme in after_goods] / attempts.sum())
