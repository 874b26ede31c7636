"""From the outcome as it was sent to the entry that is kept: what it says, and which payment it speaks of."""

from typing import Final

import msgspec
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.journal.draft import Draft, Reference
from greenlane.journal.freeze import Reporting, freeze_payment
from greenlane.payments.checks import check_payment
from greenlane.payments.codes import decline_of
from greenlane.payments.outcome import Outcome
from greenlane.payments.times import parse_rfc3339
from greenlane.ports.subjects import SubjectMap

APPROVED: Final = ("approved", "partially_approved")


class OutcomeRecord(Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """What an outcome said, without the identifiers of the payment: those are frozen in the entry's facts."""

    type: str
    result: str | None = None
    network: str | None = None
    network_response_code: str | None = None
    merchant_advice_code: str | None = None
    acquirer_code: str | None = None
    trans_status: str | None = None
    eci: str | None = None
    liability_shift: bool | None = None
    amount_minor: int | None = None
    currency: str | None = None
    reason: str | None = None
    reverses: str | None = None
    executed_route: str | None = None
    executed_intervention: str | None = None
    executed_credential: str | None = None
    sent_at: str | None = None
    overridden: bool = False
    decision_id: str | None = None
    attempt_id: str | None = None
    payment_id: str | None = None


ENCODER: Final = msgspec.msgpack.Encoder()
RECORD_DECODER: Final = msgspec.msgpack.Decoder(OutcomeRecord)


def check_outcome(outcome: Outcome) -> None:
    """Raises InputError where the parts of an outcome do not fit together."""
    if not (outcome.decision_id or outcome.attempt_id or outcome.payment_id or outcome.payment):
        raise InputError(
            "the outcome says nothing about which payment it is of",
            param="$.payment_id",
            hint="give decision_id, attempt_id, payment_id, or a whole payment",
        )
    if outcome.type == "authorization" and outcome.result not in (*APPROVED, "declined", "unknown"):
        raise InputError(
            "an authorization needs its result",
            param="$.result",
            hint="approved, partially_approved, declined or unknown",
        )
    if outcome.type == "authentication" and outcome.trans_status is None:
        raise InputError(
            "an authentication needs its trans_status", param="$.trans_status", hint="one of Y A N R U I C D"
        )
    if (outcome.type == "reversal") != (outcome.reverses is not None):
        raise InputError(
            "a reversal, and only a reversal, names the type it takes back",
            param="$.reverses",
            hint='"reverses": "dispute"',
        )
    if outcome.amount is not None and outcome.currency is None and outcome.payment is None:
        raise InputError("an amount needs its currency", param="$.currency", hint='"currency": "EUR"')


def draft_of(
    outcome: Outcome,
    *,
    body_hash: bytes,
    subjects: SubjectMap,
    reporting: Reporting,
    now_us: int,
    ingest_us: int | None = None,
) -> Draft:
    """The entry to append, checked and frozen. `ingest_us` is said by an import of history only."""
    check_outcome(outcome)
    facts = amount_minor = None
    if outcome.payment is not None:
        check_payment(outcome.payment, path="$.payment")
        facts = freeze_payment(
            outcome.payment,
            subjects=subjects,
            reporting=reporting,
            payment_us=now_us,
            attempt_id=outcome.attempt_id or "",
        )
    if outcome.amount is not None and outcome.currency is not None:
        amount_minor = reporting.minor(outcome.amount, outcome.currency, param="$.currency")
    return Draft(
        kind=outcome.type,
        source=outcome.source,
        event_id=outcome.event_id,
        body_hash=body_hash,
        payload=ENCODER.encode(record_of(outcome)),
        occurred_us=parse_rfc3339(outcome.occurred_at, param="$.occurred_at") if outcome.occurred_at else None,
        ingest_us=ingest_us,
        refers_to=Reference(
            decision_id=outcome.decision_id or "",
            attempt_id=outcome.attempt_id or "",
            payment_id=outcome.payment_id or (outcome.payment.id if outcome.payment else ""),
        ),
        takes_back=outcome.reverses,
        approved=approved(outcome),
        facts=facts,
        code=code_of(outcome),
        decline_class=decline_class(outcome),
        route_id=outcome.executed.route if outcome.executed else None,
        intervention=outcome.executed.intervention if outcome.executed else None,
        amount_reporting_minor=amount_minor if outcome.type == "refund" else None,
    )


def record_of(outcome: Outcome) -> OutcomeRecord:
    executed = outcome.executed
    return OutcomeRecord(
        type=outcome.type,
        result=outcome.result,
        network=outcome.network,
        network_response_code=outcome.network_response_code,
        merchant_advice_code=outcome.merchant_advice_code,
        acquirer_code=outcome.acquirer_code,
        trans_status=outcome.trans_status,
        eci=outcome.eci,
        liability_shift=outcome.liability_shift,
        amount_minor=outcome.amount,
        currency=outcome.currency,
        reason=outcome.reason,
        reverses=outcome.reverses,
        executed_route=executed.route if executed else None,
        executed_intervention=executed.intervention if executed else None,
        executed_credential=executed.credential if executed else None,
        sent_at=executed.sent_at if executed else None,
        overridden=bool(executed and executed.overridden),
        decision_id=outcome.decision_id,
        attempt_id=outcome.attempt_id,
        payment_id=outcome.payment_id,
    )


def approved(outcome: Outcome) -> bool | None:
    """None unless this is an authorization that was answered."""
    if outcome.type != "authorization" or outcome.result in (None, "unknown"):
        return None
    return outcome.result in APPROVED


def code_of(outcome: Outcome) -> str | None:
    return outcome.network_response_code or outcome.trans_status or outcome.reason


def decline_class(outcome: Outcome) -> str | None:
    if outcome.type != "authorization":
        return None
    if approved(outcome):
        return "approved"
    if outcome.result == "unknown":
        return "unknown"
    return decline_of(outcome.network or "*", outcome.network_response_code or "").decline_class
