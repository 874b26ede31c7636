"""Fee schedules: what an attempt costs over a route, as a list of rules with conditions and prices.

A rule's price is `fixed_micro + rate_ppm x amount_minor`, in micro-minor units (1e-6 minor units). That is exact: one
ppm of one minor unit is one micro-minor unit. Only a mean of several rules is rounded, half up to one micro-minor unit.

Rules belong to components. Components add up; where several rules of one component match, `overlap` says what holds.
`interchange_plus_plus` shows its terms (interchange, scheme, acquirer, currency); `blended` has one price and hides
them, so that a cheaper interchange is the provider's gain: the two are never mixed in one schedule.

    component        due
    authorization    for each attempt, declined ones too
    authentication   for each 3-D Secure request (`c_3ds`)
    all others       once, when the attempt is approved
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Final, Literal, NamedTuple, get_args

from msgspec import Meta

from greenlane.errors import InputError
from greenlane.merchants.regions import EEA
from greenlane.payments.attempt import Attempt, Frozen

Component = Literal["blended", "interchange", "scheme", "acquirer", "currency", "authorization", "authentication"]
Overlap = Literal["add", "average", "most_specific"]
PricingModel = Literal["blended", "interchange_plus_plus"]
Region = Literal["domestic", "intra_eea", "inter"]
CaptureDelay = Annotated[int, Meta(ge=0, le=366, description="days")] | Literal["immediate", "manual"]
Words = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=1024)]
Micro = Annotated[int, Meta(ge=-(10**15), le=10**15, description="1e-6 minor units of the reporting currency")]

MICRO: Final = 1_000_000
COMPONENTS: Final[tuple[str, ...]] = get_args(Component)
ONCE: Final = ("blended", "interchange", "scheme", "acquirer", "currency")
"""Components that are due for an approved attempt."""
HIDDEN: Final = frozenset({"interchange", "scheme", "acquirer", "currency"})
QUOTES_MAX: Final = 4_096
"""Kept prices of a schedule; beyond, all are forgotten and made again."""


class Range(Frozen, frozen=True):
    """Integers from `low` to `high`, both included; an open end is left out.

    >>> 5 in Range(low=3, high=5), 6 in Range(high=5)
    (True, False)
    """

    low: int | None = None
    high: int | None = None

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        return (self.low is None or self.low <= number) and (self.high is None or number <= self.high)


class Account(Frozen, frozen=True):
    """What a provider's price list asks about the merchant rather than about the payment."""

    settlement_currency: str = ""
    account_type: str = ""
    capture_delay: CaptureDelay | None = None
    monthly_volume_minor: int | None = None
    monthly_fraud_e9: int | None = None
    """Reported fraud over volume, in money, of one calendar month."""


NO_ACCOUNT: Final = Account()


class Situation(NamedTuple):
    """The segment of an attempt over a route, without its amount. "" and None: not known."""

    network: str = ""
    funding: str = ""
    product: str = ""
    """consumer, commercial, premium, regulated."""
    region: str = ""
    """Of issuer to acquirer: domestic, intra_eea or inter."""
    credential: str = ""
    authenticated: bool | None = None
    converted: bool | None = None
    """The payment's currency is not the one that is settled."""
    aci: str = ""
    """Authorisation characteristics indicator, as the provider's list names it."""
    mcc: str = ""
    account: Account = NO_ACCOUNT


class When(Frozen, frozen=True):
    """Conditions that must all hold; what is left out holds always."""

    network: Words = ()
    funding: Words = ()
    product: Words = ()
    region: Annotated[tuple[Region, ...], Meta(max_length=3)] = ()
    credential: Words = ()
    authenticated: bool | None = None
    converted: bool | None = None
    aci: Words = ()
    mcc: Words = ()
    account_type: Words = ()
    capture_delay: Range | Literal["immediate", "manual"] | None = None
    """A range is one of days: neither "immediate" nor "manual" lies in it."""
    monthly_volume_minor: Range | None = None
    monthly_fraud_e9: Range | None = None
    amount_minor: Range | None = None


class FeeRule(Frozen, frozen=True):
    """One price and when it holds.

    >>> FeeRule(id="debit", component="interchange", when=When(funding=("debit",)), rate_ppm=2_000).price_micro(10_000)
    20000000
    """

    id: str
    component: Component = "blended"
    when: When = When()
    fixed_micro: Micro = 0
    rate_ppm: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 0
    min_micro: Micro | None = None
    max_micro: Micro | None = None

    def price_micro(self, amount_minor: int) -> int:
        micro = self.fixed_micro + self.rate_ppm * amount_minor
        if self.min_micro is not None:
            micro = max(micro, self.min_micro)
        return micro if self.max_micro is None else min(micro, self.max_micro)

    @property
    def bounded(self) -> bool:
        return self.min_micro is not None or self.max_micro is not None


class Part(NamedTuple):
    """Rules that count together: their prices, added up and divided by `among`."""

    fixed_micro: int
    rate_ppm: int
    bounded: tuple[FeeRule, ...]
    among: int

    def price_micro(self, amount_minor: int) -> int:
        micro = self.fixed_micro + self.rate_ppm * amount_minor
        for rule in self.bounded:
            micro += rule.price_micro(amount_minor)
        return micro if self.among == 1 else (2 * micro + self.among) // (2 * self.among)


class Quote(NamedTuple):
    """The parts that hold for one segment and amount band."""

    approved: tuple[Part, ...]
    authenticated: tuple[Part, ...]
    """Of an approved attempt that has passed authentication."""
    declined: tuple[Part, ...]
    challenge: tuple[Part, ...]
    priced: bool
    """Some rule prices an approved attempt."""
    lines: tuple[int, ...] = ()
    """(fixed micro, ppm) of each of the four, where no part is bounded or a mean, as nearly all price lists are."""

    def charges(self, amount_minor: int) -> tuple[float, float, float, float]:
        """The fields of `Charges`, where it is priced."""
        n = amount_minor
        if self.lines:
            a, b, c, d, e, f, g, h = self.lines
            return (a + b * n) / MICRO, (c + d * n) / MICRO, (e + f * n) / MICRO, (g + h * n) / MICRO
        return (
            _minor(self.approved, n),
            _minor(self.authenticated, n),
            _minor(self.declined, n),
            _minor(self.challenge, n),
        )


class Charges(NamedTuple):
    """Of one attempt over one route, in minor units."""

    approved: float
    """f_r."""
    authenticated: float
    """f_r of a payment that has passed authentication."""
    declined: float
    """c_r."""
    challenge: float
    """c_3ds, one 3-D Secure request; 0 where the schedule states none."""


class Schedule(Frozen, frozen=True, omit_defaults=False, dict=True, gc=True):
    """A price list. Raises InputError where a blended list states interchange, or the other way round.

    >>> capped = Schedule(pricing_model="interchange_plus_plus", rules=(
    ...     FeeRule(id="credit", component="interchange", rate_ppm=3_000),
    ...     FeeRule(id="debit", component="interchange", when=When(funding=("debit",)), rate_ppm=2_000),
    ...     FeeRule(id="auth", component="authorization", fixed_micro=2_500_000)))
    >>> charges(capped, Situation(funding="debit"), 10_000)
    Charges(approved=22.5, authenticated=22.5, declined=2.5, challenge=0.0)
    """

    pricing_model: PricingModel
    rules: Annotated[tuple[FeeRule, ...], Meta(max_length=5_000)]
    overlap: Overlap = "most_specific"
    """Of several matching rules of one component: all add; their mean; or the one with the most conditions (the earlier
    in the list where equally many)."""
    account: Account = NO_ACCOUNT

    def __post_init__(self) -> None:
        hides = self.pricing_model == "blended"
        for at, rule in enumerate(self.rules):
            if rule.component in HIDDEN if hides else rule.component == "blended":
                raise InputError(
                    f"a schedule that is {self.pricing_model} has no {rule.component}",
                    code="invalid_schedule",
                    param=f"$.rules[{at}].component",
                    hint="a blended price hides interchange, scheme and acquirer; keep the two kinds apart",
                )

    @cached_property
    def edges(self) -> list[int]:
        """Amounts at which the set of matching rules may change."""
        ranges = [rule.when.amount_minor for rule in self.rules if rule.when.amount_minor is not None]
        lows = {each.low for each in ranges if each.low is not None}
        return sorted(lows | {each.high + 1 for each in ranges if each.high is not None})

    @cached_property
    def _quotes(self) -> dict[tuple[Situation, int], Quote]:
        return {}

    def quote(self, situation: Situation, amount_minor: int) -> Quote:
        """The parts that are due; kept by segment, as few segments make up nearly all payments."""
        key = (situation, bisect_right(self.edges, amount_minor))
        known = self._quotes.get(key)
        if known is None:
            if len(self._quotes) >= QUOTES_MAX:
                self._quotes.clear()
            known = self._quotes[key] = self._made(situation, amount_minor)
        return known

    def _made(self, situation: Situation, amount_minor: int) -> Quote:
        held = self._held(situation, amount_minor)
        passed = self._held(situation._replace(authenticated=True), amount_minor)
        due = (*ONCE, "authorization")
        parts = (
            _parts([held[component] for component in due], self.overlap),
            _parts([passed[component] for component in due], self.overlap),
            _parts([held["authorization"]], self.overlap),
            _parts([held["authentication"]], self.overlap),
        )
        return Quote(*parts, priced=any(held[component] for component in ONCE), lines=_lines(parts))

    def _held(self, situation: Situation, amount_minor: int) -> dict[str, list[FeeRule]]:
        return {component: self.in_force(component, situation, amount_minor) for component in COMPONENTS}

    def in_force(self, component: str, situation: Situation, amount_minor: int) -> list[FeeRule]:
        """The rules of a component that count for a payment."""
        found = [r for r in self.rules if r.component == component and holds(r.when, situation, amount_minor)]
        if self.overlap == "most_specific" and found:
            return [max(found, key=lambda rule: len(list(stated(rule.when))))]
        return found


def charges(schedule: Schedule, situation: Situation, amount_minor: int) -> Charges | None:
    """All that an attempt may cost; None where no rule prices an approved one.

    >>> safer = FeeRule(id="safe", component="scheme", when=When(authenticated=True), rate_ppm=100)
    >>> rules = (FeeRule(id="any", component="scheme", rate_ppm=300), safer)
    >>> charges(Schedule(pricing_model="interchange_plus_plus", rules=rules), Situation(authenticated=False), 10_000)
    Charges(approved=3.0, authenticated=1.0, declined=0.0, challenge=0.0)
    """
    quote = schedule.quote(situation, amount_minor)
    return Charges(*quote.charges(amount_minor)) if quote.priced else None


def breakdown_micro(schedule: Schedule, situation: Situation, amount_minor: int) -> dict[str, int]:
    """The terms of an approved attempt, by component: one of interchange++, hidden in a blended price."""
    by_component = ((c, schedule.in_force(c, situation, amount_minor)) for c in COMPONENTS)
    return {
        component: sum(part.price_micro(amount_minor) for part in _parts([rules], schedule.overlap))
        for component, rules in by_component
        if rules and component != "authentication"
    }


class Segment(NamedTuple):
    """What an attempt says of its price, whatever the route."""

    network: str
    funding: str
    product: str
    issuer_country: str | None
    authenticated: bool
    currency: str
    aci: str
    mcc: str

    def over(self, credential: str, acquirer_country: str | None, account: Account = NO_ACCOUNT) -> Situation:
        """The same with a credential over a route."""
        region = region_of(self.issuer_country, acquirer_country)
        return Situation(
            self.network, self.funding, self.product, region, credential, self.authenticated,
            account.settlement_currency not in ("", self.currency), self.aci, self.mcc, account,
        )  # fmt: skip


def segment_of(attempt: Attempt) -> Segment:
    """What the payment itself does not say comes from signals: `card_product` (else consumer) and `aci`."""
    payment, signals = attempt.payment, attempt.signals
    card = payment.payment_method.card
    three_ds = attempt.verification.three_ds if attempt.verification else None
    return Segment(
        card.network if card else payment.payment_method.type,
        card.funding if card else "",
        str(signals.get("card_product", "consumer")),
        card.issuer_country if card else None,
        three_ds is not None and three_ds.trans_status in ("Y", "A"),
        payment.currency,
        str(signals.get("aci", "")),
        payment.mcc or "",
    )


def region_of(issuer_country: str | None, acquirer_country: str | None) -> Region:
    """Unknown countries count as domestic, as most payments are.

    >>> region_of("DE", "DE"), region_of("DE", "NL"), region_of("US", "NL")
    ('domestic', 'intra_eea', 'inter')
    """
    if issuer_country is None or acquirer_country in (None, issuer_country):
        return "domestic"
    return "intra_eea" if issuer_country in EEA and acquirer_country in EEA else "inter"


def stated(when: When) -> Iterator[str]:
    """Names of the conditions that are there."""
    return (name for name in When.__struct_fields__ if getattr(when, name) not in (None, ()))


def holds(when: When, situation: Situation, amount_minor: int | None, *, unknown_holds: bool = False) -> bool:
    """Do all conditions hold? One about something unknown does only if `unknown_holds`."""
    for name in stated(when):
        actual = amount_minor if name == "amount_minor" else _actual(situation, name)
        if actual in (None, ""):
            if not unknown_holds:
                return False
        elif not _meets(actual, getattr(when, name)):
            return False
    return True


def _actual(situation: Situation, name: str) -> object:
    return getattr(situation, name) if name in Situation._fields else getattr(situation.account, name)


def _meets(actual: object, wanted: object) -> bool:
    return actual in wanted if isinstance(wanted, tuple | Range) else actual == wanted


def _parts(groups: list[list[FeeRule]], overlap: Overlap) -> tuple[Part, ...]:
    """The groups (one per component) as few parts as possible: only means need to stay apart."""
    if overlap != "average":
        groups = [[rule for group in groups for rule in group]]
    return tuple(_part(group, len(group) if overlap == "average" else 1) for group in groups if group)


def _lines(quoted: tuple[tuple[Part, ...], ...]) -> tuple[int, ...]:
    """Their fixed sums and rates, one after the other; () where a price is no straight line."""
    if any(part.bounded or part.among != 1 for parts in quoted for part in parts):
        return ()
    return tuple(
        total for parts in quoted for total in (sum(p.fixed_micro for p in parts), sum(p.rate_ppm for p in parts))
    )


def _minor(parts: tuple[Part, ...], amount_minor: int) -> float:
    micro = 0
    for part in parts:
        micro += part.price_micro(amount_minor)
    return micro / MICRO


def _part(rules: list[FeeRule], among: int) -> Part:
    free = [rule for rule in rules if not rule.bounded]
    bounded = tuple(rule for rule in rules if rule.bounded)
    return Part(sum(rule.fixed_micro for rule in free), sum(rule.rate_ppm for rule in free), bounded, among)
