"""What is claimed of a candidate: steps of money that have events, together; the others have bounds beside them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenlane.experiments.gate import EFFECTIVE_EVENTS_MIN, Finding, Verdict, effective_events, judge
from greenlane.experiments.impact import PER, STEPS, Bridge, Step
from greenlane.experiments.off_policy import Overlap, Term


@dataclass(frozen=True, eq=False)
class Claims:
    """The claimed steps together, and each step alone."""

    verdict: Verdict
    claimed: tuple[str, ...]
    findings: dict[str, Finding]

    @property
    def claim(self) -> Step:
        return step("claim", self.verdict.total)


def claims(
    seen: Overlap, terms: Mapping[str, Term], *, effect: float | None, maturity: NDArray[np.float64],
    excluded: Mapping[str, int],
) -> Claims:  # fmt: skip
    """`effect` per payment; for the rest see `gate.judge`."""
    claimed = tuple(n for n, one in terms.items() if effective_events(seen, one) >= EFFECTIVE_EVENTS_MIN)
    claimed = claimed or tuple(terms)
    whole, part = (
        judge(seen, {n: terms[n] for n in names}, claimed=effect, maturity=maturity, excluded=excluded)
        for names in (tuple(terms), claimed)
    )
    return Claims(part, claimed, whole.terms)


def step(name: str, found: Finding) -> Step:
    value = None if found.value is None else PER * found.value
    return Step(name, value, PER * found.low, PER * found.high, found.effective_events)


def bridged(found: Claims, *, payments: int, approval: dict[str, Step]) -> Bridge:
    """The net has a value where every step has, and no step has bounds only."""
    steps = {name: step(name, one) for name, one in found.findings.items()}
    claim, loose = found.claim, [one for name, one in steps.items() if name not in found.claimed]
    whole = not loose and all(one.value is not None for one in steps.values())
    low, high = claim.low + sum(one.low for one in loose), claim.high + sum(one.high for one in loose)
    told = tuple(steps.get(name, Step(name, 0.0, 0.0, 0.0)) for name in STEPS)
    net = Step("net", claim.value if whole else None, low, high)
    return Bridge(payments=payments, approval=approval, steps=told, net=net)
