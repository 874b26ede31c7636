"""The stored form of a decision record: what its facts say already, or what follows from the rest, is not stored again.

Every part has a short form for the usual case and its plain form for all others; the short form is taken only where
reading it gives back the very same, so the round trip is exact. What the short forms leave out:

    attempt        all that `redacted` keeps and the facts hold too: payment, instrument, customer, device
    approvals      those of fraudsters, where they are a fixed ratio of those of good payers
    may            names of rows and ways: their numbers in `actions.ROWS` and among the attempt's routes
    explored       the distribution of what left nothing to chance
    runner-up      the best of the other values
    probabilities  what Bayes makes of the approvals
"""

import struct
from collections.abc import Sequence
from itertools import chain
from sys import intern
from typing import Final

from msgspec import Struct
from msgspec.structs import fields

from greenlane.payments.attempt import (
    Attempt,
    Card,
    Constraints,
    Customer,
    Device,
    NetworkToken,
    Payment,
    PaymentMethod,
    Route,
    Signal,
    Verification,
)
from greenlane.payments.facts import Facts
from greenlane.policy.actions import ROWS, Action, Eligible, Row, Way
from greenlane.policy.believe import Probabilities, as_they_stand, probabilities_over
from greenlane.policy.choose import Chosen, next_best
from greenlane.policy.distribution import greedy
from greenlane.policy.explore import Context, Explored
from greenlane.policy.given import FREE, Barred, Given, Worth
from greenlane.policy.history import NOTHING_YET, History
from greenlane.policy.parameters import Multipliers, epoch_of
from greenlane.policy.priors import Approval, Payer

NUMBER_OF_ROW: Final = {row: number for number, row in enumerate(ROWS)}
TOKEN: Final = ("pan", "network_token")
PPM: Final = 1_000_000
GAP_MAX: Final = 2**32
UINT: Final = struct.Struct("<I")


class KeptAttempt(Struct, frozen=True, array_like=True, gc=False):
    """`stage` stands first: it is read without the rest."""

    stage: str
    attempt_id: str | None
    """None: the facts'."""
    payment: Payment | None
    """None: what the facts and the next six say."""
    told: int
    """1: a customer was told of, 2: a device."""
    credential: str
    token: NetworkToken | None
    exp_bucket: str | None
    created: str | None
    mit_reason: str | None
    network_transaction_id: str | None
    verification: Verification | None
    signals: dict[str, Signal]
    routes: tuple[Route, ...]
    constraints: Constraints | None
    deadline_ms: int | None
    mode: str
    at: str | None


class KeptGiven(Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    fraud_probability_e9: int | None
    amount_minor: int
    ingest_us: int
    rung: str
    stops: tuple[str, ...]
    review_open: bool
    multipliers: Multipliers | None
    history: History | bool | None
    """True: nothing happened yet."""
    barred: tuple[Barred, ...]
    approvals: bytes | tuple[Approval, ...] | None
    """Bytes: q_f : q_g in ppm, delta, and the three q_g of each way, all uint32."""
    declined: tuple[Worth, ...] | None
    context: Context | None
    degraded: tuple[str, ...]
    payer: Payer | None = None


class KeptChosen(Struct, frozen=True, array_like=True, gc=False):
    action: Action | None
    """None: the one at the place drawn."""
    rung: str
    rows: tuple[tuple[int, int], ...]
    ways: tuple[int | str, ...]
    """2 x the number of the attempt's route, plus 1 for its network token; or its names."""
    stops: tuple[str, ...]
    values: bytes | tuple[int, ...]
    """Bytes: the largest (int64), and how much less each is worth (uint32)."""
    explored: int | Explored
    """A place: nothing was left to chance."""
    terms_micro: tuple[int, ...]
    other_terms_micro: tuple[int, ...]
    runner_up: Action | bool | None
    """True: the best of the other values, and by how much."""
    value_gap_micro: int
    believed: tuple[int, int, int] | None
    """p_h, d and P(Y), from which the probabilities follow."""
    probabilities: Probabilities | None
    policy_epoch: int | None
    policy_version: str
    economics_version: str
    degraded: tuple[str, ...]


def keep_attempt(attempt: Attempt, facts: Facts) -> KeptAttempt:
    payment = attempt.payment
    card = payment.payment_method.card
    kept = KeptAttempt(
        stage=attempt.stage,
        attempt_id=None if attempt.attempt_id == facts.attempt_id else attempt.attempt_id,
        payment=None,
        told=(payment.customer is not None) + 2 * (payment.device is not None),
        credential=card.credential if card else "",
        token=card.token if card else None,
        exp_bucket=card.exp_bucket if card else None,
        created=payment.created,
        mit_reason=payment.mit_reason,
        network_transaction_id=payment.network_transaction_id,
        verification=attempt.verification,
        signals=attempt.signals,
        routes=attempt.eligible_routes,
        constraints=None if attempt.constraints is ALL_ALLOWED else attempt.constraints,
        deadline_ms=attempt.deadline_ms,
        mode=attempt.mode,
        at=attempt.at,
    )
    if card is None or payment != _payment_of(kept, facts):
        return _whole(kept, payment)
    return kept


def attempt_of(kept: KeptAttempt, facts: Facts) -> Attempt:
    return Attempt(
        attempt_id=facts.attempt_id if kept.attempt_id is None else kept.attempt_id,
        payment=_payment_of(kept, facts) if kept.payment is None else kept.payment,
        stage=intern(kept.stage),  # type: ignore[arg-type] # as it was kept
        verification=kept.verification,
        signals=kept.signals,
        eligible_routes=kept.routes,
        constraints=ALL_ALLOWED if kept.constraints is None else kept.constraints,
        deadline_ms=kept.deadline_ms,
        mode=intern(kept.mode),  # type: ignore[arg-type] # as it was kept
        at=kept.at,
    )


def keep_given(given: Given) -> KeptGiven:
    return KeptGiven(
        fraud_probability_e9=given.fraud_probability_e9,
        amount_minor=given.amount_minor,
        ingest_us=given.ingest_us,
        rung=given.rung,
        stops=given.stops,
        review_open=given.review_open,
        multipliers=None if given.multipliers == FREE else given.multipliers,
        history=True if given.history == NOTHING_YET else given.history,
        barred=given.barred,
        approvals=keep_approvals(given.approvals) if given.approvals else given.approvals,
        declined=given.declined,
        context=given.context,
        degraded=given.degraded,
        payer=given.payer,
    )


def given_of(kept: KeptGiven) -> Given:
    return Given(
        amount_minor=kept.amount_minor,
        fraud_probability_e9=kept.fraud_probability_e9,
        ingest_us=kept.ingest_us,
        rung=kept.rung,  # type: ignore[arg-type] # as it was kept
        stops=kept.stops,
        review_open=kept.review_open,
        multipliers=FREE if kept.multipliers is None else kept.multipliers,
        history=history_of(kept),
        barred=kept.barred,
        approvals=approvals_of(kept.approvals),
        declined=kept.declined,
        context=kept.context,
        degraded=kept.degraded,
        payer=kept.payer,
    )


def history_of(kept: KeptGiven) -> History | None:
    return NOTHING_YET if kept.history is True else kept.history or None


def keep_approvals(approvals: Sequence[Approval]) -> bytes | tuple[Approval, ...]:
    """
    >>> same = (Approval(900_000_000, 630_000_000, 10, 7, 0, 0, soft_decline_e9=5),)
    >>> len(keep_approvals(same)), approvals_of(keep_approvals(same)) == same
    (20, True)
    """
    plain, plain_fraud, asked, asked_fraud, exempt, exempt_fraud, soft = zip(*approvals, strict=True)
    goods, frauds = plain + asked + exempt, plain_fraud + asked_fraud + exempt_fraud
    best = max(goods)
    ratio = -(-frauds[goods.index(best)] * PPM // best) if best else 0
    if len(set(soft)) > 1 or frauds != tuple([good * ratio // PPM for good in goods]):
        return tuple(approvals)
    threes = chain.from_iterable(zip(plain, asked, exempt, strict=True))
    return struct.pack(f"<{len(goods) + 2}I", ratio, soft[0], *threes)


def approvals_of(kept: bytes | tuple[Approval, ...] | None) -> tuple[Approval, ...] | None:
    if not isinstance(kept, bytes):
        return kept
    ratio, soft_e9, *goods = struct.unpack(f"<{len(kept) // 4}I", kept)
    frauds, three = iter([good * ratio // PPM for good in goods]), iter(goods)
    return tuple([
        Approval(plain, next(frauds), authenticated, next(frauds), exempt, next(frauds), soft_e9)
        for plain, authenticated, exempt in zip(three, three, three, strict=True)
    ])  # fmt: skip


def rates_of(kept: bytes | tuple[Approval, ...], column: int, mode: int = 0) -> tuple[int, int]:
    """Of one way, those of good payers and of fraudsters; `mode` 0 plain, 1 authenticated, 2 exempt.

    >>> ways = (Approval(900_000_000, 630_000_000, 10, 7, 0, 0, 5), Approval(800_000_000, 560_000_000, 20, 14, 0, 0, 5))
    >>> rates_of(keep_approvals(ways), 1), rates_of(ways, 1, 1)
    ((800000000, 560000000), (20, 14))
    """
    if isinstance(kept, bytes):
        (good_e9,) = UINT.unpack_from(kept, 8 + 12 * column + 4 * mode)
        return good_e9, good_e9 * UINT.unpack_from(kept)[0] // PPM
    return kept[column][2 * mode], kept[column][2 * mode + 1]


def soft_decline_of(kept: bytes | tuple[Approval, ...], column: int) -> int:
    """delta of one way."""
    return UINT.unpack_from(kept, 4)[0] if isinstance(kept, bytes) else kept[column].soft_decline_e9


def keep_chosen(chosen: Chosen, given: Given, attempt: Attempt) -> KeptChosen:
    may, values, place = chosen.may, chosen.values_micro, chosen.explored.place
    other = next_best(values, place) if values else None
    follows = other is not None and len(values) == may.size and (
        chosen.runner_up == may.action(other) and chosen.value_gap_micro == values[place] - values[other]
    )  # fmt: skip
    seen = chosen.probabilities
    believed = None if seen is None else _believed(seen, chosen, given)
    return KeptChosen(
        action=None if chosen.action == may.action(place) else chosen.action,
        rung=chosen.rung,
        rows=tuple([(NUMBER_OF_ROW[row.intervention, row.exemption], row.ways) for row in may.rows]),
        ways=_keep_ways(may.ways, attempt.eligible_routes),
        stops=may.stops,
        values=keep_values(values),
        explored=place if chosen.explored == certain(may.size, place) else chosen.explored,
        terms_micro=chosen.terms_micro,
        other_terms_micro=chosen.other_terms_micro,
        runner_up=True if follows else chosen.runner_up,
        value_gap_micro=0 if follows else chosen.value_gap_micro,
        believed=believed,
        probabilities=None if believed is not None else seen,
        policy_epoch=None if chosen.policy_epoch == epoch_of(given.ingest_us) else chosen.policy_epoch,
        policy_version=chosen.policy_version,
        economics_version=chosen.economics_version,
        degraded=chosen.degraded,
    )


def chosen_of(kept: KeptChosen, given: Given, attempt: Attempt) -> Chosen:
    may = Eligible(
        tuple([Row(*ROWS[number], bits) for number, bits in kept.rows]),
        _ways_of(kept.ways, attempt.eligible_routes),
        kept.stops,
    )
    explored = certain(may.size, kept.explored) if isinstance(kept.explored, int) else kept.explored
    place, values = explored.place, values_of(kept.values)
    action = may.action(place) if kept.action is None else kept.action
    runner_up, gap = kept.runner_up, kept.value_gap_micro
    if isinstance(runner_up, bool):
        other = next_best(values, place)
        assert other is not None, "it was kept as one of the values"
        runner_up, gap = may.action(other), values[place] - values[other]
    seen = kept.probabilities
    if kept.believed is not None:
        seen = _seen(kept.believed, may.ways.index(action.way), given)
    return Chosen(
        action=action,
        rung=kept.rung,  # type: ignore[arg-type] # as it was kept
        may=may,
        values_micro=values,
        explored=explored,
        terms_micro=kept.terms_micro,
        other_terms_micro=kept.other_terms_micro,
        runner_up=runner_up,
        value_gap_micro=gap,
        probabilities=seen,
        policy_epoch=epoch_of(given.ingest_us) if kept.policy_epoch is None else kept.policy_epoch,
        policy_version=kept.policy_version,
        economics_version=kept.economics_version,
        degraded=kept.degraded,
    )


def keep_values(values: tuple[int, ...]) -> bytes | tuple[int, ...]:
    """
    >>> values_of(keep_values((5, -10**15, 7))), values_of(keep_values((5, 7)))
    ((5, -1000000000000000, 7), (5, 7))
    """
    top = max(values, default=0)
    if not values or top - min(values) >= GAP_MAX:
        return values
    return struct.pack(f"<q{len(values)}I", top, *[top - value for value in values])


def values_of(kept: bytes | tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(kept, bytes):
        return kept
    top, *gaps = struct.unpack(f"<q{len(kept) // 4 - 2}I", kept)
    return tuple([top - gap for gap in gaps])


def certain(size: int, place: int) -> Explored:
    """What is explored where nothing is left to chance."""
    return Explored(distribution=greedy(size, place), place=place)


ALL_ALLOWED: Final[Constraints] = next(field.default for field in fields(Attempt) if field.name == "constraints")
"""The very default: it is left out of bytes."""


def _payment_of(kept: KeptAttempt, facts: Facts) -> Payment:
    """The redacted payment by card that these facts are of. A default is left out of bytes where it is the very same
    text: so words are interned."""
    card = Card(
        fingerprint=f"{facts.card & 0xFFFF_FFFF_FFFF_FFFF:x}",
        bin=facts.bin8 or None,
        network=intern(facts.network),  # type: ignore[arg-type] # of a card
        funding=intern(facts.funding),  # type: ignore[arg-type] # of a card
        issuer_id=facts.issuer_id or None,
        issuer_country=facts.issuer_country or None,
        credential=intern(kept.credential),  # type: ignore[arg-type] # of a card
        token=kept.token,
        exp_bucket=kept.exp_bucket,
    )
    proxy = None if facts.is_proxy < 0 else bool(facts.is_proxy)
    return Payment(
        id=facts.payment_id,
        amount=facts.amount_minor,
        currency=facts.currency,
        merchant_id=facts.merchant_id,
        payment_method=PaymentMethod(card=card),
        created=kept.created,
        mcc=facts.mcc or None,
        channel=intern(facts.channel),  # type: ignore[arg-type] # as it was frozen
        initiator=intern(facts.initiator),  # type: ignore[arg-type] # as it was frozen
        mit_reason=kept.mit_reason,  # type: ignore[arg-type] # as it was kept
        network_transaction_id=kept.network_transaction_id,
        customer=Customer(email_domain=facts.email_domain or None) if kept.told & 1 else None,
        device=Device(ip_country=facts.ip_country or None, asn=facts.asn or None, is_proxy=proxy)
        if kept.told & 2
        else None,
        billing_country=facts.billing_country or None,
    )


def _whole(kept: KeptAttempt, payment: Payment) -> KeptAttempt:
    rest = kept.verification, kept.signals, kept.routes, kept.constraints, kept.deadline_ms, kept.mode, kept.at
    return KeptAttempt(kept.stage, kept.attempt_id, payment, 0, "", None, None, None, None, None, *rest)


def _keep_ways(ways: tuple[Way, ...], routes: tuple[Route, ...]) -> tuple[int | str, ...]:
    number = {route.id: 2 * at for at, route in enumerate(routes)}
    return tuple([
        number[route] + TOKEN.index(credential) if credential and route in number else f"{route} {credential}"
        for route, credential in ways
    ])  # fmt: skip


def _ways_of(kept: tuple[int | str, ...], routes: tuple[Route, ...]) -> tuple[Way, ...]:
    return tuple([
        Way(*way.split(" ")) if isinstance(way, str) else Way(routes[way // 2].id, TOKEN[way % 2]) for way in kept
    ])  # fmt: skip


def _believed(seen: Probabilities, chosen: Chosen, given: Given) -> tuple[int, int, int] | None:
    """The three numbers that say all of it; None where they do not."""
    ways, action = chosen.may.ways, chosen.action
    if given.approvals is None or len(given.approvals) != len(ways) or not action.route or action.way not in ways:
        return None
    three = seen.fraud_given_history_e9, seen.dispute_e9, seen.challenge_success_e9
    return three if _seen(three, ways.index(action.way), given) == seen else None


def _seen(believed: tuple[int, int, int], column: int, given: Given) -> Probabilities:
    p_h, dispute_e9, success_e9 = believed
    assert given.approvals is not None, "kept so only where there are"
    return probabilities_over(
        as_they_stand(given.approvals, given.history or NOTHING_YET),
        column,
        fraud_e9=given.fraud_probability_e9 or 0,
        fraud_given_history_e9=p_h,
        dispute_e9=dispute_e9,
        challenge_success_e9=success_e9,
    )
