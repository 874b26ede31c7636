"""What just happened to an attempt, as whoever asks for the next action tells it: the body of `next_action`."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from greenlane.errors import InputError
from greenlane.outcomes.accept import record_of
from greenlane.payments.attempt import (
    AmountMinor,
    Attempt,
    AvsResult,
    CvvResult,
    Frozen,
    Id,
    Network,
    Stage,
    ThreeDS,
    Timestamp,
    Verification,
)
from greenlane.payments.outcome import RECORD_DECODER, Outcome, OutcomeRecord
from greenlane.ports.journal import Entry

Code = Annotated[str, Meta(max_length=8)]


class Declined(Frozen, frozen=True):
    """The issuer's refusal, or `unknown`: a time-out, or an answer that never came."""

    network_response_code: Code | None = None
    network: Network | None = None
    """Where it is not the card's own."""
    merchant_advice_code: Code | None = None
    acquirer_code: Annotated[str, Meta(max_length=64)] | None = None
    unknown: bool = False


class Approved(Frozen, frozen=True):
    """The issuer's approval, with what it said of address and security code."""

    avs_result: AvsResult | None = None
    cvv_result: CvvResult | None = None
    partial_amount: AmountMinor | None = None
    """Approved, where that is less than was asked for; in the payment's currency."""


class Happened(Frozen, frozen=True):
    """Exactly one of `decline`, `authentication`, `approval`, `not_sent`, `reversed`; or none, to ask again later.

    It becomes the outcome entry (`source`, `event_id`) first, so the same event sent to `/v1/outcomes` is a duplicate.
    """

    source: Id
    event_id: Id
    decline: Declined | None = None
    authentication: ThreeDS | None = None
    approval: Approved | None = None
    not_sent: bool = False
    """The attempt provably never left."""
    reversed: bool = False
    """The reversal that was asked for is confirmed."""
    partial_accepted: bool = False
    """A partial approval was asked for, and is kept."""
    occurred_at: Timestamp | None = None


HAPPENED_DECODER = msgspec.json.Decoder(Happened)


def check_happened(happened: Happened) -> None:
    """InputError where it tells two things at once, or half of one."""
    told = (happened.decline, happened.authentication, happened.approval, happened.not_sent, happened.reversed)
    if sum(bool(each) if isinstance(each, bool) else each is not None for each in told) > 1:
        hint = "one of decline, authentication, approval, not_sent, reversed"
        raise InputError("one event tells one thing", param="$", hint=hint)
    if happened.decline is not None and not happened.decline.unknown and not happened.decline.network_response_code:
        raise InputError(
            "a decline needs its code", param="$.decline.network_response_code", hint='"51"; or "unknown": true'
        )
    if happened.authentication is not None and happened.authentication.trans_status is None:
        raise InputError(
            "an authentication needs its trans_status",
            param="$.authentication.trans_status",
            hint="one of Y A N R U I C D",
        )


def outcome_of(happened: Happened, attempt: Attempt, decision_id: str) -> Outcome | None:
    """The outcome that this is; None where nothing new is told.

    >>> from greenlane.payments.attempt import Payment, PaymentMethod
    >>> payment = Payment(id="p", amount=5, currency="EUR", merchant_id="m", payment_method=PaymentMethod())
    >>> told = Happened(source="acquirer", event_id="1", decline=Declined(unknown=True))
    >>> outcome_of(told, Attempt(attempt_id="a", payment=payment), "dec_1_1").result
    'unknown'
    """
    tell = partial(
        Outcome,
        source=happened.source,
        event_id=happened.event_id,
        decision_id=decision_id,
        occurred_at=happened.occurred_at,
    )
    card = attempt.payment.payment_method.card
    network = card.network if card is not None else None
    if happened.decline is not None:
        decline = happened.decline
        return tell(
            type="authorization",
            result="unknown" if decline.unknown else "declined",
            network=decline.network or network,
            network_response_code=decline.network_response_code,
            merchant_advice_code=decline.merchant_advice_code,
            acquirer_code=decline.acquirer_code,
        )
    if happened.approval is not None:
        amount = happened.approval.partial_amount
        if amount is not None and amount >= attempt.payment.amount:
            raise InputError(
                f"a partial approval is of less than the payment's {attempt.payment.amount}",
                param="$.approval.partial_amount",
                hint="leave it out where the whole amount is approved",
            )
        return tell(
            type="authorization",
            result="approved" if amount is None else "partially_approved",
            network=network,
            amount=amount,
            currency=None if amount is None else attempt.payment.currency,
        )
    if happened.authentication is not None:
        three_ds = happened.authentication
        return tell(
            type="authentication",
            trans_status=three_ds.trans_status,
            eci=three_ds.eci,
            liability_shift=three_ds.liability_shift,
        )
    if happened.not_sent:
        return tell(type="not_sent")
    return tell(type="reversal", reverses="authorization") if happened.reversed else None


def verification_after(happened: Happened, before: Verification | None) -> Verification | None:
    """What is known of the payer by now: the new answer over the earlier ones."""
    known = before or Verification()
    if happened.authentication is not None:
        return msgspec.structs.replace(known, three_ds=happened.authentication)
    if happened.approval is not None:
        told = happened.approval
        return msgspec.structs.replace(
            known, avs_result=told.avs_result or known.avs_result, cvv_result=told.cvv_result or known.cvv_result
        )
    return before


def stage_after(happened: Happened, before: Stage) -> Stage:
    if happened.approval is not None:
        return "post_authorization"
    return "pre_authorization" if before == "pre_authentication" else before


def same_event(outcome: Outcome, stored: Entry, *, about: Entry | None = None) -> bool:
    """Does an entry tell the same of the same attempt, though in another form? `about`: the decision that is named."""
    if outcome.type != stored.kind or not stored.payload or stored.facts is None:
        return False
    if outcome.decision_id and (about is None or about.facts is None):
        return False
    record, meant = RECORD_DECODER.decode(stored.payload), None if about is None else about.facts
    payments = {outcome.payment_id, outcome.payment.id if outcome.payment else None}
    attempts = {outcome.attempt_id}
    if meant is not None:
        payments, attempts = payments | {meant.payment_id}, attempts | {meant.attempt_id}
    known = record.attempt_id or record.decision_id
    other = payments - {None, stored.facts.payment_id} or (known and attempts - {None, stored.facts.attempt_id})
    return not other and _told(record_of(outcome)) == _told(record)


def _told(record: OutcomeRecord) -> tuple[object, ...]:
    codes = record.network_response_code, record.merchant_advice_code, record.trans_status
    return record.type, record.result, *codes, record.amount_minor, record.reverses
