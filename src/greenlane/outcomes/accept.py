"""From the outcome as it was sent to the entry that is kept: what it says, and which payment it speaks of."""

from typing import Final

import msgspec

from greenlane.errors import InputError
from greenlane.journal.draft import Draft, Reference
from greenlane.journal.freeze import Reporting, freeze_payment
from greenlane.payments.checks import check_payment
from greenlane.payments.codes import decline_of
from greenlane.payments.outcome import Outcome, OutcomeRecord
from greenlane.payments.times import parse_rfc3339
from greenlane.ports.subjects import SubjectMap

APPROVED: Final = ("approved", "partially_approved")


ENCODER: Final = msgspec.msgpack.Encoder()


def check_outcome(outcome: Outcome) -> None:
    """Raises InputError where the parts of an outcome do not fit together."""
    named = outcome.decision_id or outcome.attempt_id or outcome.payment_id or outcome.payment
    is_reversal, results = outcome.type == "reversal", (*APPROVED, "declined", "unknown")
    lone_amount = outcome.amount is not None and outcome.currency is None and outcome.payment is None
    for wrong, message, param, hint in (
        (not named, "the outcome says nothing about which payment it is of", "payment_id",
         "give decision_id, attempt_id, payment_id, or a whole payment"),
        (outcome.type == "authorization" and outcome.result not in results, "an authorization needs its result",
         "result", ", ".join(results[:-1]) + " or unknown"),
        (outcome.type == "authentication" and outcome.trans_status is None,
         "an authentication needs its trans_status", "trans_status", "one of Y A N R U I C D"),
        (is_reversal != (outcome.reverses is not None),
         "a reversal, and only a reversal, names the type it takes back", "reverses", '"reverses": "dispute"'),
        (lone_amount, "an amount needs its currency", "currency", '"currency": "EUR"'),
    ):  # fmt: skip
        if wrong:
            raise InputError(message, param=f"$.{param}", hint=hint)


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
