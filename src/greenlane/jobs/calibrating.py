"""Does a world look like the world? Each figure beside what it should be, with where that stands.

Figures are true probabilities, not coins, wherever the world knows them. Targets are ranges: [S] of a published source,
[A] a prior of ours; three are measured in a real log that is not part of this repository (approval by card range,
its deviation by minute, delays of chargebacks): for the first two the range is a prior, and says so.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from greenlane.payments.times import DAY_US, HOUR_US, MINUTE_US
from greenlane.policy.mandate import sca_required
from greenlane.simulation.answers import AUTHENTICATED, PLAIN, Answer, Sent
from greenlane.simulation.living import Living
from greenlane.simulation.randomness import Draws
from greenlane.simulation.world import Arrival, World

BIN_PAYMENTS_MIN: Final = 30
RETRIED_MIN: Final = 15
"""Fewer cases than that say nothing: the figure is left out."""
PROBE_EVERY: Final = 2
DELAYS: Final = 4000


class Calibration(NamedTuple):
    """One figure of a world."""

    figure: str
    value: float
    target: tuple[float, float]
    source: str

    @property
    def ok(self) -> bool:
        return self.target[0] <= self.value <= self.target[1]


def check(world: World, seed: int, payments: int) -> list[Calibration]:
    """Every figure that this world has enough cases for.

    >>> figures = check(World.load("calm"), 1, 400)
    >>> next(f.figure for f in figures)
    'declined, first attempts, payer present'
    """
    seen = _Seen(world, seed)
    for arrival in seen.living.arrivals(payments):
        seen.look(arrival)
    return [*_approval(seen), *_retries(seen), *_authentication(seen), *_fraud(seen)]


class First(NamedTuple):
    """A good payer's first request; probabilities are true ones."""

    arrival: Arrival
    route: str
    approval: float
    answer: Answer


class _Seen:
    """First requests over routes in turn, authenticated where the law asks for it, and what retries would recover."""

    def __init__(self, world: World, seed: int):
        self.world, self.living, self.turn = world, Living(world, seed), 0
        self.firsts: list[First] = []
        self.recovered: dict[str, list[float]] = defaultdict(list)
        self.challenged: list[bool] = []
        self.approved, self.reported = 0.0, 0.0
        self.penalties: list[float] = []
        self._country = {route.id: route.country for route in world.parameters.routes}

    def look(self, arrival: Arrival) -> None:
        self.turn += 1
        economics = self.world.economics[arrival.attempt.payment.merchant_id]
        routes = arrival.attempt.eligible_routes
        route = routes[self.turn % len(routes)].id
        bound = economics.sca_mandated and sca_required(arrival.attempt, economics.country)
        sent = Sent(route, "pan", "challenge" if bound else "allow", at_us=arrival.at_us)
        terms = self.living.true_terms(arrival, Sent(route, "pan", "allow", at_us=arrival.at_us), economics)
        answer = self.living.send(arrival, sent)
        self.approved += answer.approval_probability
        self.reported += answer.approval_probability * arrival.truth.report_probability
        if arrival.truth.fraud:
            return
        self._compare(arrival, answer)
        if bound:
            self.challenged.append(answer.authentication is not None and answer.authentication.flow == "frictionless")
        if answer.result in ("approved", "declined") and answer.code not in ("1A",):
            approval = answer.authorization_probability if bound else terms.approved
            self.firsts.append(First(arrival, route, approval, answer))
        if answer.result == "declined" and self.turn % PROBE_EVERY == 0:
            self._probe(arrival, sent, answer, other=routes[(self.turn + 1) % len(routes)].id)

    def _compare(self, arrival: Arrival, answer: Answer) -> None:
        """The same payment over domestic routes and over foreign ones, authenticated or not as it was."""
        card = arrival.attempt.payment.payment_method.card
        home = [
            card is not None and self._country[r.id] == card.issuer_country for r in arrival.attempt.eligible_routes
        ]
        if any(home) and not all(home):
            odds = self.living.odds(arrival, arrival.at_us)
            mode = AUTHENTICATED if answer.authentication else PLAIN
            approval = {
                route: q for (route, name), q in zip(odds.ways, odds.good[:, mode], strict=True) if name == "pan"
            }
            each = np.array(list(approval.values()))
            self.penalties.append(float(each[home].mean() - each[np.logical_not(home)].mean()))

    def _probe(self, arrival: Arrival, sent: Sent, answer: Answer, *, other: str) -> None:
        """What would come of trying again: asked, not sent; only for want of funds it is sent, three times."""
        again = sent._replace(intervention="allow", exemption="")
        plain = arrival.attempt.payment.initiator == "mit" or sent.intervention == "allow"

        def odds(name: str, **changed: object) -> None:
            economics = self.world.economics[arrival.attempt.payment.merchant_id]
            terms = self.living.true_terms(arrival, again._replace(**changed), economics)  # type: ignore[arg-type] # fields of Sent
            self.recovered[name].append(terms.approved)

        at_us = answer.at_us
        if answer.code == "05" and plain:
            odds("05, other route at once", route=other, at_us=at_us)
            odds("05, same route after a day", at_us=at_us + DAY_US)
        elif answer.code in ("91", "96"):
            odds("91/96, other route at once", route=other, at_us=at_us)
            odds("91/96, same route after an hour", at_us=at_us + HOUR_US)
        elif answer.code == "51" and plain:
            odds("51, at once", at_us=at_us)
            for number in (1, 2, 3):
                then = again._replace(at_us=at_us + number * 4 * DAY_US, attempt_no=1 + number)
                odds(f"51, retry {number}, four days apart", at_us=then.at_us)
                if self.living.send(arrival, then).approved:
                    return


def _approval(seen: _Seen) -> Iterator[Calibration]:
    present = [f for f in seen.firsts if f.arrival.attempt.payment.initiator == "cit"]
    absent = [f for f in seen.firsts if f.arrival.attempt.payment.initiator == "mit"]
    yield Calibration("declined, first attempts, payer present", _declined(present), (0.09, 0.17), "[A] 2.6: .10-.14")
    if len(absent) >= RETRIED_MIN:
        yield Calibration("declined, first attempts, payer absent", _declined(absent), (0.16, 0.27), "[A] 2.6: .18-.25")
    by_bin = defaultdict(list)
    for first in present:
        card = first.arrival.attempt.payment.payment_method.card
        by_bin[card.bin if card else None].append(first.approval)
    rates = [float(np.mean(each)) for each in by_bin.values() if len(each) >= BIN_PAYMENTS_MIN]
    if len(rates) >= 5:
        low, high = np.percentile(rates, [10, 90])
        yield Calibration("approval by card range, p10", float(low), (0.68, 0.88), "[A] the measured figure is absent")
        yield Calibration("approval by card range, p90", float(high), (0.88, 0.98), "[A] the measured figure is absent")
    minutes = defaultdict(list)
    for first in seen.firsts:
        minutes[first.arrival.at_us // MINUTE_US].append(first.approval)
    spread = float(np.std([np.mean(each) for each in minutes.values()]))
    yield Calibration("approval by minute, sd", spread, (0.04, 0.20), "[A] the measured figure is absent")
    if len(seen.penalties) >= BIN_PAYMENTS_MIN:
        points = 100 * float(np.mean(seen.penalties))
        yield Calibration("foreign penalty, points", points, (3.0, 15.0), "[S] 4.2: 5-10; drift blurs it")


def _retries(seen: _Seen) -> Iterator[Calibration]:
    targets = {
        "51, at once": (0.002, 0.03, "[A] 4.2: .01"),
        "51, retry 1, four days apart": (0.12, 0.26, "[A] 6: .18"),
        "51, retry 2, four days apart": (0.09, 0.20, "[A] 6: .13"),
        "51, retry 3, four days apart": (0.06, 0.17, "[A] 6: .10"),
        "05, other route at once": (0.08, 0.16, "[A] 4.2: .10-.14"),
        "05, same route after a day": (0.06, 0.16, "[A] 6: .12"),
        "91/96, other route at once": (0.30, 0.58, "[A] 4.2: .35-.55"),
        "91/96, same route after an hour": (0.45, 0.75, "[A] 6: .60"),
    }
    alone = len(seen.world.parameters.routes) == 1 or seen.world.parameters.interaction < 1
    for name, (low, high, source) in targets.items():
        cases = seen.recovered.get(name, [])
        if len(cases) >= RETRIED_MIN and not (alone and "other route" in name):
            yield Calibration(f"recovery of {name}", float(np.mean(cases)), (low, high), source)


def _authentication(seen: _Seen) -> Iterator[Calibration]:
    if len(seen.challenged) >= 100:
        countries = seen.world.parameters.countries
        weights = np.array([country.share for country in countries])
        prior = float(weights @ [country.frictionless for country in countries] / weights.sum())
        share = float(np.mean(seen.challenged))
        yield Calibration("frictionless share", share, (prior - 0.15, prior + 0.08), "[A] 3.3, by country")


def _fraud(seen: _Seen) -> Iterator[Calibration]:
    world, reported = seen.world, 1e4 * seen.reported / seen.approved
    yield Calibration(
        "reported fraud, bps of approved", reported, _bps(world), "[A] 7: 8 EEA, 25 US; x2.5 digital, x3 abroad"
    )
    codes = [f.answer.code for f in seen.firsts if f.answer.result == "declined"]
    for code, present, absent in (("51", 0.30, 0.48), ("05", 0.24, 0.18)):
        mit = np.mean([f.arrival.attempt.payment.initiator == "mit" for f in seen.firsts if not f.answer.approved])
        prior = float(present + (absent - present) * mit)
        share = codes.count(code) / len(codes)
        yield Calibration(f"share of {code} among declines", share, (prior - 0.09, prior + 0.09), "[A] 2.6")
    luck = Draws(world.parameters.seed, "calibration", np.arange(DELAYS))
    delays = world.oracle.dispute_delay_us(luck, np.ones(DELAYS, np.bool_)) / DAY_US
    stated = (("p5", 5, 55), ("p25", 25, 80), ("median", 50, 96), ("p75", 75, 123), ("p95", 95, 144))
    for name, percent, days in stated:
        value = float(np.percentile(delays, percent))
        yield Calibration(f"chargeback delay, {name}, days", value, (days - 4, days + 4), f"measured: {days}")


def _bps(world: World) -> tuple[float, float]:
    """Of attempts 8 bps in Europe and 25 in the US, by count, before typologies and countries multiply them."""
    return (15.0, 90.0) if world.parameters.currency == "USD" else (4.0, 45.0)


def _declined(firsts: list[First]) -> float:
    return 1 - float(np.mean([first.approval for first in firsts]))
