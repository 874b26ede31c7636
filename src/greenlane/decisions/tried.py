"""What the journal knows of a payment's past: the attempts that were granted or reported, and its authentication."""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from greenlane.decisions.record import record_of
from greenlane.payments.attempt import Attempt, ThreeDS
from greenlane.payments.codes import decline_of
from greenlane.payments.facts import Facts
from greenlane.payments.outcome import RECORD_DECODER, OutcomeRecord
from greenlane.policy.history import PENDING, Answer, History, Tried, history_of, is_unsettled
from greenlane.policy.liability import liability
from greenlane.policy.next_action import capturable_minor, double_approvals
from greenlane.ports.journal import Entry

APPROVED: Final = ("approved", "partially_approved")
NOTHING_HEARD: Final = OutcomeRecord("")
"""Of an entry whose payload has retired: its facts still tell code, class and route."""


def history_in(entries: Iterable[Entry], attempt: Attempt, *, card: int = 0) -> History:
    """What the caller tells with the attempt, and what the payment's entries add to it.

    Of this attempt itself only the way it was sent is taken, unless it was answered: then it is about to be sent again.
    The authentication is the caller's where it tells one, else the last that was reported for this payment by this
    `card` (the instrument's pseudonym): another card's proves nothing.
    """
    told, known = history_of(attempt), list(entries)
    if not told.answered:
        for entry in known:
            heard = heard_in(entry)
            if heard is None or heard.type != "authentication" or entry.facts is None:
                continue
            if not _is_other(entry.facts, card):
                told = _authenticated(told, heard, entry.facts)
    for entry in known:
        facts = entry.facts
        if facts is not None and facts.attempt_id == attempt.attempt_id and entry.kind == "decision" and facts.route_id:
            told = told._replace(route=facts.route_id, credential=facts.credential)
    tried = tuple(
        each for each in tried_in(known, card=card) if each.attempt_id != attempt.attempt_id or _again(each, told)
    )
    return told._replace(tried=tried) if tried else told


def _again(own: Tried, told: History) -> bool:
    return not told.approved and own.answer not in ("pending", "not_sent")


def _is_other(facts: Facts, card: int) -> bool:
    return card != 0 and facts.card not in (0, card)


def tried_in(entries: Iterable[Entry], *, card: int = 0) -> tuple[Tried, ...]:
    """The attempts at a payment, the oldest first, each with what is known of its end."""
    tried: dict[str, Tried] = {}
    for entry in entries:
        facts = entry.facts
        if facts is None:
            continue
        heard, known = heard_in(entry), tried.get(facts.attempt_id)
        if heard is None:
            if facts.route_id and (known is None or known.answer not in APPROVED):
                tried[facts.attempt_id] = replace(_granted(entry, facts), other=_is_other(facts, card))
        elif heard.type in ("authorization", "not_sent", "abandoned", "reversal"):
            before = known or Tried(facts.attempt_id, len(tried) + 1, facts.route_id, other=_is_other(facts, card))
            tried[facts.attempt_id] = _heard(before, heard, facts, kind=heard.type, at_us=entry.ingest_us)
    return tuple(tried.values())


def capturable(entries: Iterable[Entry]) -> int | None:
    """What may still be captured of a payment, in its minor units; None where nothing is approved."""
    known = list(entries)
    standing = [each for each in tried_in(known) if each.answer in APPROVED]
    if not standing:
        return None
    told = [(entry.facts, heard) for entry in known if entry.facts is not None and (heard := heard_in(entry))]
    approved = told[0][0].amount_minor
    if standing[0].answer == "partially_approved":
        parts = (h for facts, h in told if facts.attempt_id == standing[0].attempt_id)
        approved = next((h.amount_minor or 0 for h in parts if h.result == "partially_approved"), 0)
    captured = [heard.amount_minor or approved for _, heard in told if heard.type == "capture"]
    return capturable_minor(approved, captured)


def to_reverse(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The attempts whose approval is one too many."""
    return double_approvals(tried_in(entries))


def heard_in(entry: Entry) -> OutcomeRecord | None:
    """What an outcome entry says; None of a decision."""
    if entry.kind == "decision":
        return None
    heard = RECORD_DECODER.decode(entry.payload) if entry.payload else NOTHING_HEARD
    return heard if heard.type else replace(heard, type=entry.kind)


def _granted(entry: Entry, facts: Facts) -> Tried:
    record = record_of(entry) if entry.payload else None
    return Tried(
        facts.attempt_id,
        record.attempt_no if record is not None else 0,
        facts.route_id,
        facts.credential,
        facts.intervention,
        record.chosen.action.exemption if record is not None else "",
        entry.ingest_us,
        network=facts.network,
    )


def _heard(before: Tried, heard: OutcomeRecord, facts: Facts, *, kind: str, at_us: int) -> Tried:
    """An answer stands, whatever is said later: an approval until it is reversed, a decline until it is approved."""
    settled = before.answer in APPROVED or (before.answer == "declined" and not is_unsettled(before))
    if kind in ("not_sent", "abandoned"):  # who left was not sent, unless it is known that they were
        return before if settled else replace(before, answer="not_sent")
    if kind == "reversal":
        back = heard.reverses in ("authorization", "capture") and (before.answer in APPROVED or not settled)
        return replace(before, answer="reversed") if back else before
    known: dict[str, Answer] = {"approved": "approved", "unknown": "unknown"}
    answer = known.get(facts.decline_class, "declined")
    if before.answer in APPROVED and heard.result != "partially_approved":
        return before
    if answer == "unknown" and (settled or before.answer == "reversed"):
        return before
    network = heard.network or facts.network
    return replace(
        before,
        route=facts.route_id or before.route,
        at_us=before.at_us if answer == before.answer else at_us,
        answer="partially_approved" if heard.result == "partially_approved" else answer,
        network=network,
        code=facts.code,
        advice=heard.merchant_advice_code or "",
        decline_class=decline_of(network, facts.code).decline_class if answer == "declined" else facts.decline_class,
    )


def _authenticated(told: History, heard: OutcomeRecord, facts: Facts) -> History:
    if facts.code in PENDING:
        return told
    answer = {"trans_status": facts.code or None, "eci": heard.eci, "liability_shift": heard.liability_shift}
    liable = liability(msgspec.convert(answer, ThreeDS), network=facts.network)
    return told._replace(status=liable.status, liability_shifted=liable.shifted)
