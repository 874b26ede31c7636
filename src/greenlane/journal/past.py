"""What an entry takes from the entries before it: the facts of the payment it refers to, and what it takes back."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from greenlane.errors import InputError, LimitExceeded
from greenlane.journal.draft import APPROVALS, ATTEMPTS, BITS_OF_KIND, Draft, Reference
from greenlane.journal.names import Names
from greenlane.payments.facts import Facts
from greenlane.ports.journal import Entry, Row

ABOUT_MAX: Final = 500
"""Entries about one payment: each append about it looks at all of them, while every other request waits."""

TOLD: Final = ("code", "decline_class", "route_id", "intervention", "amount_reporting_minor")
"""What an outcome says itself, over what the payment's facts say."""

AFTER_APPROVAL: Final = ("capture", "reversal", "settlement", "refund", "fraud_report", "alert", "dispute", "return")
"""What can only be said of an attempt that went through: a later one, declined, is not meant."""


def refuse_contradiction(draft: Draft, names: Names) -> None:
    """InputError where the attempt or the decision that the draft names is one of another payment."""
    reference = draft.refers_to or Reference()
    payment_id = draft.facts.payment_id if draft.facts else reference.payment_id
    attempt_id = draft.facts.attempt_id if draft.facts else reference.attempt_id
    for space, name in (("attempt", attempt_id), ("decision", reference.decision_id)):
        known = _known(names.rows(space, name)) if name and payment_id else []
        if known and known[0][1].payment_id != payment_id:
            raise InputError(
                f"{space} {name} is of payment {known[0][1].payment_id}, not of {payment_id}",
                code="references_differ",
                param=f"$.{space}_id",
                hint="an attempt has one payment: give each attempt its own id",
            )


def refuse_endless(draft: Draft, names: Names) -> None:
    """LimitExceeded where the draft would be one too many of its payment, attempt or decision."""
    reference = draft.refers_to or Reference()
    facts = draft.facts or _referred(reference, names, kind=draft.kind)
    payment_id = facts.payment_id if facts else reference.payment_id
    keys = ("payment", payment_id), ("attempt", reference.attempt_id), ("decision", reference.decision_id)
    for space, name in keys:
        if name and len(names.rows(space, name)) >= ABOUT_MAX:
            raise LimitExceeded(
                f"there are {ABOUT_MAX} entries about {space} {name} already",
                code="too_many_entries",
                hint="a payment is paid once: give each its own id",
            )


def frozen_facts(draft: Draft, names: Names, *, ingest_us: int) -> Facts | None:
    """The facts an entry is appended with; None for control entries and while its payment is not known."""
    if draft.kind == "decision":
        return draft.facts and _with_payment_time(draft.facts, names, default_us=draft.facts.payment_us)
    reference = draft.refers_to or Reference()
    facts = _referred(reference, names, kind=draft.kind)
    if facts is None or (draft.facts and not _same_attempt(reference, facts)):
        facts = draft.facts and _with_payment_time(draft.facts, names, default_us=ingest_us)
    if facts is None:
        return None
    return _with_outcome(_with_attempt(facts, draft), draft)


def payment_us(payment_id: str, names: Names) -> int | None:
    """The frozen time of a payment that has an entry with facts; None for a new one."""
    return next((facts.payment_us for _, facts in _known(names.rows("payment", payment_id))), None)


def taken_back(kind: str, facts: Facts, names: Names) -> Entry | None:
    """The payment's latest event of this kind that no earlier entry took back; an authorization is its attempt's."""
    bits, standing = BITS_OF_KIND.get(kind, 0), []
    for row in names.rows("payment", facts.payment_id):
        if kind == "authorization" and row.entry.facts and row.entry.facts.attempt_id != facts.attempt_id:
            continue
        if row.entry.emits & bits and row.entry.sign > 0:
            standing.append(row.entry)
        elif row.entry.emits & bits and standing:
            standing.pop()
    return standing[-1] if standing else None


def opens_attempt(facts: Facts, names: Names) -> bool:
    """Whether the attempt is not yet an event of the source `attempts`."""
    if not facts.attempt_id:
        return False
    return not any(row.entry.emits & ATTEMPTS for row in names.rows("attempt", facts.attempt_id))


def waits(draft: Draft, facts: Facts | None, *, taken: bool) -> bool:
    """An outcome whose payment has not come, or a reversal of what has not come."""
    if draft.kind in ("decision", "control") or draft.refers_to is None:
        return False
    return facts is None or (draft.takes_back is not None and not taken)


def names_of(draft: Draft, facts: Facts | None, names: Names, *, emits: int, waits: bool) -> Iterator[bytes]:
    """The names a new entry is found by, beside its dedup key.

    A payment leads to all entries about it; an attempt to its first entry, the one that made it an event, and its live
    decisions; a decision to itself. What waits is found by everything it refers to.
    """
    reference = (draft.refers_to if waits else None) or Reference()
    payment_id = facts.payment_id if facts else draft.refers_to.payment_id if draft.refers_to else ""
    if payment_id:
        yield names.ask("payment", payment_id)[0]
    if reference.attempt_id:
        yield names.ask("attempt", reference.attempt_id)[0]
    elif facts and facts.attempt_id:
        name, rows = names.ask("attempt", facts.attempt_id)
        if emits & ATTEMPTS or (draft.kind == "decision" and not draft.shadow) or not _known(rows):
            yield name
    decision_id = reference.decision_id or draft.decision_id
    if decision_id:
        yield names.ask("decision", decision_id)[0]


def set_free(draft: Draft, facts: Facts | None, names: Names) -> list[Row]:
    """The outcomes that waited for what this entry brings, in order."""
    if facts is None:
        return []
    found: dict[int, Row] = {}
    reversible = draft.kind in BITS_OF_KIND  # a reversal that came too early may wait for this very outcome
    named = draft.decision_id or (draft.refers_to.decision_id if reversible and draft.refers_to else "")
    for space, name in (("payment", facts.payment_id), ("attempt", facts.attempt_id), ("decision", named)):
        rows = names.rows(space, name) if name else ()
        if rows and (reversible or space == "decision" or not _known(rows)):
            found.update((row.entry.seq, row) for row in rows if row.waiting)
    return [found[seq] for seq in sorted(found)]


def _referred(reference: Reference, names: Names, *, kind: str) -> Facts | None:
    if reference.decision_id:
        known = _known(names.rows("decision", reference.decision_id))
        if known:
            return known[0][1]
    if reference.attempt_id:
        facts = _of_attempt(reference.attempt_id, names)
        if facts is not None:
            return facts
    return _of_payment(reference, names, kind=kind) if reference.payment_id else None


def _of_attempt(attempt_id: str, names: Names) -> Facts | None:
    """Of the attempt's latest decision, else of its first entry."""
    known = _known(names.rows("attempt", attempt_id))
    decided = [facts for entry, facts in known if entry.kind == "decision"]
    return decided[-1] if decided else known[0][1] if known else None


def _of_payment(reference: Reference, names: Names, *, kind: str) -> Facts | None:
    known = _known(names.rows("payment", reference.payment_id))
    if not known:
        return None
    latest = known[-1][1]
    attempts = list(dict.fromkeys(facts.attempt_id for _, facts in known if facts.attempt_id))
    if reference.attempt_id or not attempts or (reference.attempt_no or 0) > len(attempts):
        return replace(latest, attempt_id="", route_id="", intervention="", code="", decline_class="")
    went_through = _approved(known) if kind in AFTER_APPROVAL else ""
    meant = attempts[reference.attempt_no - 1] if reference.attempt_no else went_through or attempts[-1]
    return _of_attempt(meant, names) or latest


def _approved(known: Sequence[tuple[Entry, Facts]]) -> str:
    """The attempt approved last; none where none was."""
    approved = (facts.attempt_id for entry, facts in known if entry.emits & APPROVALS and entry.sign > 0)
    return next(reversed(list(approved)), "")


def _known(rows: Sequence[Row]) -> list[tuple[Entry, Facts]]:
    return [(row.entry, row.entry.facts) for row in rows if row.entry.facts is not None]


def _same_attempt(reference: Reference, facts: Facts) -> bool:
    return not reference.attempt_id or reference.attempt_id == facts.attempt_id


def _with_payment_time(facts: Facts, names: Names, *, default_us: int) -> Facts:
    """The time of a payment is the ingest of its first entry; its account's age is counted to then."""
    first_us = payment_us(facts.payment_id, names) or default_us
    if first_us == facts.payment_us:
        return facts
    age_us = facts.account_age_us
    return replace(
        facts,
        payment_us=first_us,
        account_age_us=age_us if age_us < 0 else max(0, age_us + first_us - facts.payment_us),
    )


def _with_attempt(facts: Facts, draft: Draft) -> Facts:
    """An attempt nobody named goes by its number."""
    reference = draft.refers_to or Reference()
    if facts.attempt_id or not (reference.attempt_id or draft.kind == "authorization"):
        return facts
    return replace(facts, attempt_id=reference.attempt_id or f"{facts.payment_id}/{reference.attempt_no or 1}")


def _with_outcome(facts: Facts, draft: Draft) -> Facts:
    told = {name: value for name in TOLD if (value := getattr(draft, name)) is not None}
    return replace(facts, **told) if told else facts
