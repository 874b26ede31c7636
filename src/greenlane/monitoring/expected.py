"""What a decision expected of the attempt it let pass, in probabilities: read from the few parts of its record that say
so. All else in the bytes is skipped, which costs a tenth of reading the whole record.
"""

from functools import lru_cache
from typing import Any, Final, get_type_hints

from msgspec import NODEFAULT, Raw, Struct, defstruct
from msgspec.msgpack import Decoder

from greenlane.decisions.kept import KeptChosen, KeptGiven, rates_of, soft_decline_of
from greenlane.decisions.record import Kept, record_of
from greenlane.policy.actions import ROWS, Eligible, Row
from greenlane.policy.believe import AUTHENTICATED, ONE_E9, given_e9, mixed_e9
from greenlane.policy.distribution import TOTAL
from greenlane.policy.explore import Explored
from greenlane.policy.history import History
from greenlane.ports.journal import Entry

UNCHALLENGED: Final = ("allow", "exempt")
RELEASED: Final = "release"
PLAIN, CHALLENGED, EXEMPT, APPROVED = range(4)
MODE: Final = {"challenge": CHALLENGED, "exempt": EXEMPT}


class Expected(Struct, frozen=True, array_like=True, gc=False):
    """Remembered until the answer comes. Probabilities 0..1; 0 where nothing was believed."""

    route: str
    approval: float
    """P(approved), of this payer over this way in this mode."""
    fraud: float
    """p_A, reported as fraud given that it is approved."""
    model: str
    weight: float
    """1 / propensity of a released block, else 0."""
    passes: bool
    """Without a challenge."""


def narrowed(whole: type[Struct], *wanted: str, **parts: type) -> Any:
    """The same stored struct with only the fields that are wanted, some of them narrowed themselves.

    >>> class Whole(Struct, array_like=True):
    ...     a: int
    ...     b: dict[str, int]
    ...     c: int = 3
    ...     d: int = 4
    >>> Decoder(narrowed(Whole, "a", "c")).decode(b"\\x93\\x01\\x80\\x07").c
    7
    """
    kinds = get_type_hints(whole) | dict.fromkeys(set(whole.__struct_fields__) - set(wanted), Raw) | parts
    first = len(whole.__struct_fields__) - len(whole.__struct_defaults__)
    defaults = (NODEFAULT,) * first + whole.__struct_defaults__
    last = max(map(whole.__struct_fields__.index, (*wanted, *parts)))
    fields = [
        (name, kinds[name]) if default is NODEFAULT else (name, kinds[name], default)
        for name, default in zip(whole.__struct_fields__[: last + 1], defaults, strict=False)
    ]
    return defstruct(f"Of{whole.__name__}", fields, frozen=True, array_like=True, gc=False)


glance = Decoder(
    narrowed(
        Kept, "known", "vector_of", "model", "release", "arms",
        given=narrowed(KeptGiven, "fraud_probability_e9", "history", "approvals"),
        chosen=narrowed(KeptChosen, "action", "rows", "explored", "believed", "probabilities"),
    )
).decode  # fmt: skip
"""A decision's payload -> what is watched of it: `Kept`, narrowed."""


def expected_of(entry: Entry, seen: Any) -> Expected:
    """Of a granted decision, and what `glance` saw of it."""
    assert entry.facts is not None, "a decision always has facts"
    intervention, chosen, drawn = entry.facts.intervention, seen.chosen, seen.chosen.explored
    approval_e9 = fraud_e9 = 0
    if chosen.believed is not None or chosen.probabilities is not None:
        approval_e9, fraud_e9 = believed_e9(intervention, column_of(entry, chosen), seen.given, chosen)
    chance = 0
    if isinstance(drawn, Explored) and drawn.explored and drawn.kind == RELEASED:
        chance = drawn.distribution[drawn.place]
    return Expected(
        entry.facts.route_id,
        approval_e9 / 1e9,
        fraud_e9 / 1e9,
        seen.model,
        TOTAL / chance if chance else 0.0,
        intervention in UNCHALLENGED,
    )


def believed_e9(intervention: str, column: int | None, given: Any, chosen: Any) -> tuple[int, int]:
    """(approval, p_A) in the mode in which it was sent: plain, authenticated, or with an exemption that may be declined
    softly. Over no way (a block) no approval."""
    shown, approvals = chosen.probabilities, given.approvals
    if shown is not None:
        p_e9, fraud_e9 = shown.fraud_given_history_e9, shown.fraud_given_approval_e9
        approval_e9 = 0 if column is None else shown.approval_e9[column]
    else:
        assert column is not None, "what was believed is kept short only over a way"
        p_e9, now = chosen.believed[0], mode_now(given.history) if isinstance(given.history, History) else PLAIN
        good_e9, by_fraud_e9 = (ONE_E9, ONE_E9) if now == APPROVED else rates_of(approvals, column, now)
        approval_e9 = mixed_e9(p_e9, good_e9=good_e9, fraud_e9=by_fraud_e9)
        fraud_e9 = given_e9(p_e9, good_e9=good_e9, fraud_e9=by_fraud_e9)
    mode = MODE.get(intervention, PLAIN)
    if mode and column is not None and approvals is not None:
        good_e9, by_fraud_e9 = rates_of(approvals, column, mode)
        approval_e9 = mixed_e9(p_e9, good_e9=good_e9, fraud_e9=by_fraud_e9)
        if mode == EXEMPT:
            approval_e9 = approval_e9 * (ONE_E9 - soft_decline_of(approvals, column)) // ONE_E9
    return approval_e9, fraud_e9


def mode_now(history: History) -> int:
    """What a plain attempt counts as after what happened to the payment so far (`believe.as_they_stand`)."""
    return APPROVED if history.approved else CHALLENGED if history.status in AUTHENTICATED else PLAIN


def column_of(entry: Entry, chosen: Any) -> int | None:
    """The place of the way that was taken among those that were eligible; None for a block."""
    if chosen.action is None:
        return column_at(chosen.rows, chosen.explored if isinstance(chosen.explored, int) else chosen.explored.place)
    ways = record_of(entry).chosen.may.ways
    return ways.index(chosen.action.way) if chosen.action.way in ways else None


@lru_cache(maxsize=4096)
def column_at(rows: tuple[tuple[int, int], ...], place: int) -> int | None:
    """
    >>> column_at(((0, 0b101),), 1), column_at(((0, 0b101),), 2)
    (2, None)
    """
    cell = Eligible(tuple([Row(*ROWS[number], bits) for number, bits in rows]), (), ()).cell(place)
    return None if cell is None else cell[1]
