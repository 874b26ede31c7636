"""What an issuer's answer says about the way it was sent: nothing, where the payer alone is to blame for it.

A decline for want of funds would have come over any route; a time-out would not. So answers fall into four kinds, and
only the first three teach health and breakers: approved, refused (the issuer would not), technical (somebody could
not); neutral is all that the payer, the card or the law is the reason of.
"""

from functools import lru_cache
from typing import Final, Literal, NamedTuple

from greenlane.payments.codes import decline_of
from greenlane.payments.facts import Facts

Kind = Literal["approved", "refused", "technical", "neutral"]

TECHNICAL: Final = frozenset({"issuer_unavailable", "processing_error", "connect_error", "timeout_unknown"})
REFUSED: Final = frozenset(
    {"do_not_honor", "refer_to_issuer", "suspected_fraud", "fraud_security", "restricted_card", "policy",
     "blocked_by_issuer", "token_invalid", "security_violation", "unknown"}
)  # fmt: skip
"""Categories in which the issuer's own judgement, which differs by route, has a part; "unknown" is a decline without a
code that a table knows."""


class Heard(NamedTuple):
    """One answer, with what was expected of it: all that the online layer learns from.

    Probabilities are integers 1e-9 and weights ppm. `approval_e9` is a good payer's approval as the decision recorded
    it, `offset_millilogit` the part of its log-odds that health had added then; 0 and 0 where nobody decided here.
    """

    at_us: int
    kind: Kind
    issuer: str
    bin8: str
    route: str
    initiator: str = "cit"
    card: int = 0
    approval_e9: int = 0
    offset_millilogit: int = 0
    genuine_ppm: int = 1_000_000
    """P(the payer is genuine | this answer); 0 in attacked cells."""


@lru_cache(maxsize=4096)
def kind_of(decline_class: str, network: str, code: str) -> Kind:
    """
    >>> kind_of("soft", "visa", "51"), kind_of("soft", "visa", "05"), kind_of("soft", "visa", "91")
    ('neutral', 'refused', 'technical')
    """
    if decline_class == "approved":
        return "approved"
    if decline_class in ("unknown", "config"):
        return "technical"
    category = decline_of(network or "*", code).category
    if category in TECHNICAL:
        return "technical"
    return "refused" if category in REFUSED else "neutral"


def issuer_of(facts: Facts) -> str:
    """The issuer, as well as it is known."""
    return facts.issuer_id or facts.issuer_country
