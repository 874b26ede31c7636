"""How everything stands that the policy learned and keeps count of: one fold of the journal, beside the features."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

import greenlane
from greenlane.decisions.explored import explored_of
from greenlane.decisions.record import record_of
from greenlane.payments.facts import Facts
from greenlane.policy.actions import Way
from greenlane.policy.breaker import CLOSED, KILLED, SCHEDULED, WHOLE_PPM
from greenlane.policy.budgets import Ledger
from greenlane.policy.distribution import TOTAL
from greenlane.policy.explore import Draw, Exploring
from greenlane.policy.given import Barred
from greenlane.policy.heard import issuer_of
from greenlane.policy.history import PASSED
from greenlane.policy.liability import SHIFTED
from greenlane.policy.limits import Limits
from greenlane.policy.multipliers import Prices
from greenlane.policy.online import Expected, Online
from greenlane.policy.priors import Approval
from greenlane.ports.journal import Entry

AUTHENTICATED: Final = PASSED | SHIFTED
PROBE: Final = "probe"
"""The purpose of the draw that lets a payment through a gate."""
MODE: Final = {"allow": "good_e9", "review": "good_e9", "exempt": "good_exempt_e9", "challenge": "good_3ds_e9"}
"""Which approval of a good payer an intervention expects."""


class Standing:
    """The fold. Two that were given the same entries dump the same bytes.

    >>> standing = Standing(Exploring())
    >>> Standing.load(standing.dump(), Exploring()).dump() == standing.dump()
    True
    """

    def __init__(self, exploring: Exploring):
        self.online, self.limits, self.prices = Online(expected_of), Limits(), Prices()
        self.ledger = Ledger(exploring, explored_of)

    def apply(self, entry: Entry) -> None:
        self.online.apply(entry)
        self.limits.apply(entry)
        self.ledger.apply(entry)
        self.prices.apply(entry)

    def dump(self) -> bytes:
        parts = self.online.dump(), self.limits.dump(), self.ledger.dump(), self.prices.dump()
        return msgspec.msgpack.encode((code_version(), parts))

    @classmethod
    def load(cls, dumped: bytes, exploring: Exploring) -> "Standing":
        """Raises ValueError where another build dumped it: then the journal is folded again."""
        version, parts = msgspec.msgpack.decode(dumped, type=tuple[str, tuple[bytes, bytes, bytes, bytes]])
        if version != code_version():
            raise ValueError("another build's state")
        standing = cls(exploring)
        standing.online = Online.load(parts[0], expected_of)
        standing.limits = Limits.load(parts[1])
        standing.ledger = Ledger.load(parts[2], exploring, explored_of)
        standing.prices = Prices.load(parts[3])
        return standing


class Gates:
    """What the online layer says of ways. A gate that is not closed lets a share of the payments through, by draw.

    Where no way is left, those that only a breaker shut are open to all: a payment is better tried than lost.
    """

    def __init__(self, online: Online, draw: Draw):
        self._online, self._draw = online, draw

    def barred(self, facts: Facts, ways: Sequence[Way], *, at_us: int) -> tuple[Barred, ...]:
        self._online.advance(at_us)
        gates = self._online.breaker.gates(issuer_of(facts), [way.route for way in ways], at_us)
        if gates.count(CLOSED) == len(gates):
            return ()
        ordered, broken = list[Barred](), list[Barred]()
        for way, gate in zip(ways, gates, strict=True):
            if gate in (KILLED, SCHEDULED):
                ordered.append(Barred(*way, gate.state))
            elif gate.share_ppm < WHOLE_PPM and not self._probes(facts, way.route, gate.share_ppm):
                broken.append(Barred(*way, f"breaker_{gate.state}"))
        return tuple(ordered if len(ordered) + len(broken) == len(ways) else ordered + broken)

    def unhealthy(self, facts: Facts, ways: Sequence[Way], *, at_us: int) -> int:
        gates = self._online.breaker.gates(issuer_of(facts), [way.route for way in ways], at_us)
        return sum(1 << at for at, gate in enumerate(gates) if gate.share_ppm < WHOLE_PPM)

    def deviations(self, facts: Facts, ways: Sequence[Way]) -> tuple[int, ...]:
        return self._online.health.deviations(issuer_of(facts), [way.route for way in ways])

    def attacked(self, facts: Facts, *, at_us: int) -> bool:
        return self._online.attacked.covers(facts, at_us)

    def _probes(self, facts: Facts, route: str, share_ppm: int) -> bool:
        return self._draw(PROBE, f"{facts.payment_id}/{route}") < TOTAL * share_ppm // WHOLE_PPM


def expected_of(entry: Entry) -> Expected | None:
    """What a decision expected of the attempt it granted; None where it granted or believed nothing."""
    if not entry.payload or entry.facts is None or not entry.facts.route_id:
        return None
    record = record_of(entry)
    chosen, seen = record.chosen, record.chosen.probabilities
    if seen is None or record.attempt.stage == "post_authorization":
        return None
    way, mode = chosen.may.ways.index(chosen.action.way), MODE[chosen.action.intervention]
    if record.given.history is not None and record.given.history.status in AUTHENTICATED:
        mode = MODE["challenge"]
    approval: Approval | None = None if record.given.approvals is None else record.given.approvals[way]
    if record.further is not None:
        approval = record.further.approval
    return Expected(
        entry.facts.attempt_id,
        chosen.action.route,
        seen.approval_e9[way] if approval is None else getattr(approval, mode),
        seen.fraud_given_approval_e9,
        seen.fraud_given_decline_e9,
        tuple([(route.id, route.acquirer) for route in record.attempt.eligible_routes if route.acquirer]),
        adapted=approval is not None,
        arms=record.arms,
        first=record.attempt_no == 1,
    )


def code_version() -> str:
    """Of everything that folds: state of another build is not read, but folded again."""
    digest = hashlib.blake2b(digest_size=8)
    rooms = (Path(greenlane.__file__).parent / room for room in ("decisions", "payments", "policy"))
    for path in sorted(path for room in rooms for kind in ("*.py", "*.csv") for path in room.rglob(kind)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
