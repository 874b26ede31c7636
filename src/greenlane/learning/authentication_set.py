"""What authentications teach: who was challenged, and who of them answered.

Two stages, each a share that is counted and drawn towards its parent's: stated prior of the country -> country ->
issuer.

    phi = P(frictionless | an answer came)        s = P(passed | challenged)        u = P(no answer)

An authentication that tells no flow (`reason` "frictionless" or "challenge") and was not seen pending (C, D) is a
challenge where it failed; where it was passed it counts in part as each, by what the stated prior says.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from greenlane.errors import TrainingError
from greenlane.learning.reliability import Check, event_checks, reliability_bins, skill_check, verdict_of
from greenlane.learning.resampling import Resampled
from greenlane.payments.outcome import RECORD_DECODER
from greenlane.policy.authenticating import UNAVAILABLE_PPM, AuthenticationTable
from greenlane.policy.priors import ELSEWHERE, GOOD_PAYERS, GoodPayer
from greenlane.ports.journal import Entry

PPM: Final = 1_000_000
WEIGHT: Final = 40
"""A parent's share counts like this many answers that were seen. Assumed."""
UNAVAILABLE_WEIGHT: Final = 200
PENDING: Final = ("C", "D")
PASSED: Final = ("Y", "A")
FAILED: Final = ("N", "R")
PENDING_MAX: Final = 100_000


class Answered(NamedTuple):
    """One authentication: of whom, and what came of it. Shares where the flow was not told."""

    country: str
    issuer: str
    frictionless: float
    challenged: float
    passed: float
    """Of the challenged."""
    at_us: int = 0
    card: int = 0


def prior_of(country: str) -> GoodPayer:
    return GOOD_PAYERS.get(country, ELSEWHERE)


def answers(entries: Iterable[Entry]) -> Iterator[Answered]:
    """Every authentication that was answered or for which no answer came, in the order of the journal."""
    pending: dict[str, None] = {}
    for entry in entries:
        facts = entry.facts
        if facts is None or entry.sign < 0 or entry.kind not in ("authentication", "link"):
            continue
        said = RECORD_DECODER.decode(entry.payload)
        if said.type != "authentication":
            continue
        status = facts.code
        if status in PENDING:
            if len(pending) >= PENDING_MAX:
                del pending[next(iter(pending))]
            pending[facts.attempt_id] = None
            continue
        flow = "challenge" if facts.attempt_id in pending else said.reason or ""
        pending.pop(facts.attempt_id, None)
        found = answered(status, flow, facts.issuer_country)
        if found is not None:
            yield Answered(facts.issuer_country, facts.issuer_id, *found, at_us=entry.ingest_us, card=facts.card)


def answered(status: str, flow: str, country: str) -> tuple[float, float, float] | None:
    """(frictionless, challenged, passed); all 0 where no answer came, None where the status says nothing.

    >>> answered("Y", "challenge", "FR"), answered("N", "", "FR"), answered("U", "", "FR")
    ((0.0, 1.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0))
    """
    if status == "U":
        return 0.0, 0.0, 0.0
    if status in FAILED:
        return 0.0, 1.0, 0.0
    if status not in PASSED:
        return None
    if flow == "challenge":
        return 0.0, 1.0, 1.0
    if flow == "frictionless":
        return 1.0, 0.0, 0.0
    phi, s = (share / PPM for share in prior_of(country))
    frictionless = phi / (phi + (1.0 - phi) * s)
    return frictionless, 1.0 - frictionless, 1.0 - frictionless


class Counts(Struct):
    frictionless: float = 0.0
    answered: float = 0.0
    passed: float = 0.0
    challenged: float = 0.0

    def add(self, one: Answered) -> None:
        self.frictionless += one.frictionless
        self.answered += one.frictionless + one.challenged
        self.passed += one.passed
        self.challenged += one.challenged

    def drawn(self, parent: GoodPayer) -> GoodPayer:
        phi = (self.frictionless * PPM + WEIGHT * parent.frictionless_ppm) / (self.answered + WEIGHT)
        s = (self.passed * PPM + WEIGHT * parent.success_ppm) / (self.challenged + WEIGHT)
        return GoodPayer(round(phi), round(s))


def learned(found: Iterable[Answered]) -> AuthenticationTable:
    """The table that these answers teach.

    >>> many = [Answered("FR", "bnp", 0.0, 1.0, 1.0)] * 60 + [Answered("FR", "bnp", 1.0, 0.0, 0.0)] * 40
    >>> table = learned(many)
    >>> table.countries["FR"], table.issuers["bnp"].success_ppm
    (GoodPayer(frictionless_ppm=385714, success_ppm=960000), 984000)
    """
    countries: dict[str, Counts] = {}
    issuers: dict[tuple[str, str], Counts] = {}
    seen = unanswered = 0
    for one in found:
        seen += 1
        unanswered += one.frictionless + one.challenged == 0.0
        countries.setdefault(one.country, Counts()).add(one)
        if one.issuer:
            issuers.setdefault((one.issuer, one.country), Counts()).add(one)
    by_country = {country: counts.drawn(prior_of(country)) for country, counts in sorted(countries.items()) if country}
    return AuthenticationTable(
        countries=by_country,
        issuers={
            issuer: counts.drawn(by_country.get(country, prior_of(country)))
            for (issuer, country), counts in sorted(issuers.items())
        },
        unavailable_ppm=(unanswered * PPM + UNAVAILABLE_WEIGHT * UNAVAILABLE_PPM) // (seen + UNAVAILABLE_WEIGHT),
    )


class Judged(Struct, frozen=True):
    """A table held against answers that came after all it was learned from."""

    answered: int
    challenged: float
    stages: dict[str, list[Check]]
    """Checks of each stage, frictionless and challenge success, by bins of equal expected events."""
    verdict: str


def judge(table: AuthenticationTable, later: Sequence[Answered], *, seed: int = 0) -> Judged:
    """Each stage's shares as probabilities: bins, slope, total, skill above the mean; intervals resample cards."""
    came = [one for one in later if one.frictionless + one.challenged > 0.0]
    asked = [one for one in came if one.challenged > 0.0]
    if not asked:
        raise TrainingError("no challenge was answered in the held-out time", hint="take a longer period")
    believed = [table.payer(one.issuer, one.country) or prior_of(one.country) for one in came]
    challenged = [table.payer(one.issuer, one.country) or prior_of(one.country) for one in asked]
    stages = {
        "frictionless": stage(
            [each.frictionless_ppm / PPM for each in believed],
            [one.frictionless for one in came],
            weight=[1.0] * len(came),
            cards=Resampled.of([one.card for one in came], seed=seed),
        ),
        "challenge success": stage(
            [each.success_ppm / PPM for each in challenged],
            [one.passed / one.challenged for one in asked],
            weight=[one.challenged for one in asked],
            cards=Resampled.of([one.card for one in asked], seed=seed),
        ),
    }
    verdict = verdict_of([check for checks in stages.values() for check in checks])
    return Judged(len(came), sum(one.challenged for one in asked), stages, verdict)


def stage(p: list[float], happened: list[float], *, weight: list[float], cards: Resampled) -> list[Check]:
    """The checks of probabilities that are shares, of an event that may have happened in part."""
    expected, y, mass = (np.array(each, np.float64) for each in (p, happened, weight))
    bins = reliability_bins(expected, y, mass)
    return [*event_checks(bins, expected, y, mass), skill_check(expected, y, mass, cards)]
