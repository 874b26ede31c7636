"""A small stream of attempts with known approval, outages and attacks, routed by the gates: what drills are run on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp

import msgspec
import numpy as np

from greenlane.payments.facts import Facts
from greenlane.policy.online import ANSWERS, ATTEMPTS, Expected, Online
from greenlane.ports.journal import Entry

SECOND_US = 1_000_000
ISSUERS = tuple(f"iss_{n}" for n in range(12))
ROUTES = ("acq_a", "acq_b", "acq_c")
CODES = {
    "refused": ("05", "soft"),
    "neutral": ("51", "soft"),
    "technical": ("91", "soft"),
    "approved": ("00", "approved"),
}
Broken = Callable[[int, str, str], float]
"""(time, issuer, route) -> share of technical failures on top of what is usual."""


def healthy(_at_us: int, _issuer: str, _route: str) -> float:
    return 0.0


@dataclass
class Stream:
    """One attempt each `gap_us`; a third goes to each route, gates permitting."""

    online: Online
    gap_us: int = SECOND_US
    seed: int = 0
    approval: float = 0.88
    expected: float = 0.88
    """What decisions record of approval; 0: nobody decides here."""
    broken: Broken = healthy
    at_us: int = 900 * SECOND_US * 1_000
    seq: int = 0
    sent: list[tuple[int, str, str, str]] = field(default_factory=list)
    """(time, issuer, wanted route, route taken)."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def run(self, attempts: int) -> "Stream":
        for _ in range(attempts):
            issuer, wanted = ISSUERS[self.rng.integers(len(ISSUERS))], ROUTES[self.rng.integers(len(ROUTES))]
            self.attempt(issuer, wanted, amount=int(self.rng.integers(2_000, 20_000)))
        return self

    def attempt(self, issuer: str, wanted: str, *, amount: int, kind: str = "", bin8: str = "", card: int = 0) -> None:
        self.at_us += self.gap_us
        bin8 = bin8 or f"4000{issuer[4:]:0>2}{self.seq % 3:02d}"
        route = self._gated(issuer, wanted)
        self.sent.append((self.at_us, issuer, wanted, route))
        kind = kind or self._answer(issuer, route)
        code, decline_class = CODES[kind]
        if self.expected:
            offset = self.online.health.offsets(issuer, bin8, (route,))[0] / 1e3
            approval = 1 / (1 + (1 - self.expected) / self.expected * exp(-offset))
            expected = Expected(f"att_{self.seq}", route, round(approval * 1e9), 1_000_000, 5_000_000)
            self.online.decided(expected, issuer=issuer, bin8=bin8)
        self.tell(
            Facts(
                payment_id=f"pay_{self.seq}", payment_us=self.at_us, amount_minor=amount, currency="EUR",
                amount_reporting_minor=amount, attempt_id=f"att_{self.seq}", merchant_id="shop", network="visa",
                card=card or int(self.rng.integers(1, 2**62)), bin8=bin8,
                issuer_id=issuer, route_id=route, code=code, decline_class=decline_class,
            )
        )  # fmt: skip

    def tell(self, facts: Facts) -> None:
        self.seq += 1
        emits = ANSWERS | ATTEMPTS
        self.online.apply(
            Entry(self.seq, 1, self.at_us, "authorization", "a", str(self.seq), self.at_us, emits, 1, b"", facts, b"")
        )

    def _gated(self, issuer: str, wanted: str) -> str:
        """The wanted route with the share that its gate lets pass, else the best open one."""
        gates = dict(zip(ROUTES, self.online.breaker.gates(issuer, ROUTES, self.at_us), strict=True))
        if self.rng.random() * 1e6 < gates[wanted].share_ppm:
            return wanted
        return max(ROUTES, key=lambda route: gates[route].share_ppm)

    def _answer(self, issuer: str, route: str) -> str:
        if self.rng.random() < 0.004 + self.broken(self.at_us, issuer, route):
            return "technical"
        if self.rng.random() < self.approval:
            return "approved"
        return "refused" if self.rng.random() < 0.6 else "neutral"

    def taken(self, *, wanted: str, from_us: int, to_us: int) -> list[str]:
        """The routes taken in this time by those who wanted one."""
        return [route for at_us, _, want, route in self.sent if want == wanted and from_us <= at_us < to_us]


def nothing_decided_here(_entry: object) -> None:
    return None


def trading(attempts: int = 3_000, *, seed: int = 0, gap_us: int = SECOND_US) -> Stream:
    return Stream(Online(nothing_decided_here), seed=seed, gap_us=gap_us).run(attempts)


def control(subject: str, name: str, after: object, *, at_us: int = 0) -> Entry:
    payload = msgspec.msgpack.encode((subject, name, "anna", "told so", None, after))
    return Entry(1, 1, at_us, "control", "console", "1", at_us, 0, 1, b"", None, payload)
