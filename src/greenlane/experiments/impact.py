"""From an uplift to money: the bridge that a product manager quotes, whatever the numbers came from.

    approval uplift -> gross -> fees -> fraud (matured) -> disputes -> review -> friction -> net per 1,000 payments

Each step has its interval, or bounds where the log cannot tell; the same for each route, issuer and segment. Approval
is shown of attempts and of payments. Money is minor units of one currency, new minus old.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.experiments.ab import compare
from greenlane.experiments.moments import Moments
from greenlane.payments.arrays import Flags, Floats, Ints

STEPS: Final = ("gross", "fees", "fraud", "disputes", "review", "friction")
"""In the order of the bridge; they add up to the net."""
PER: Final = 1_000
GROUPS_MAX: Final = 12
"""Of one kind are shown; the rest is named "others"."""


class Step(Struct, frozen=True):
    """Per 1,000 payments. `value` None: bounds only, which are no interval."""

    name: str
    value: float | None
    low: float
    high: float
    events: float | None = None
    """Effective events behind it, where they were counted."""

    @property
    def told(self) -> str:
        """
        >>> Step("gross", 1_234.0, -100.0, 2_600.0).told, Step("fraud", None, -10.0, 20.0).told
        ('+12.34 [-1.00, +26.00]', 'between -0.10 and +0.20')
        """
        low, high = f"{self.low / 100:+,.2f}", f"{self.high / 100:+,.2f}"
        return f"between {low} and {high}" if self.value is None else f"{self.value / 100:+,.2f} [{low}, {high}]"

    @property
    def points(self) -> str:
        """Of approvals per 1,000: percentage points.

        >>> Step("payments", 12.0, 5.0, 19.0).points
        '+1.20 [+0.50, +1.90] points'
        """
        value = "" if self.value is None else f"{self.value / 10:+.2f} "
        return f"{value}[{self.low / 10:+.2f}, {self.high / 10:+.2f}] points"


class Bridge(Struct, frozen=True, kw_only=True):
    """One comparison; see the module."""

    payments: int
    approval: dict[str, Step]
    """By level: approvals gained per 1,000."""
    steps: tuple[Step, ...]
    net: Step


class Impact(Struct, frozen=True, kw_only=True):
    """What a page shows and a JSON says."""

    title: str
    source: str
    """"experiment", "off-policy" or "simulation"."""
    currency: str
    bridge: Bridge
    groups: dict[str, dict[str, Bridge]]
    """By kind (route, issuer, segment) and name."""
    notes: tuple[str, ...] = ()


class Arm(Struct, frozen=True, kw_only=True):
    """One arm of an experiment, a row per payment."""

    money: Floats
    """float64[payments, STEPS], minor units; fraud matured."""
    attempt_approved: Floats
    """float64[payments, (approved, attempts)]: of all attempts of the payment."""
    payment_approved: Floats
    unit: Ints
    """Who was randomised: int64[payments]."""


def bridge_of_arms(control: Arm, treatment: Arm, *, alpha: float = 0.05) -> Bridge:
    """Treatment minus control, by the units that were randomised (the delta method).

    >>> rng = np.random.default_rng(1)
    >>> def arm(lift):
    ...     won = (rng.random(4_000) < 0.8 + lift).astype(float)
    ...     money = np.zeros((4_000, len(STEPS)))
    ...     money[:, 0], money[:, 1] = 500 * won, -30.0
    ...     return Arm(money=money, attempt_approved=np.stack([won, np.ones(4_000)], 1), payment_approved=won,
    ...                unit=np.arange(4_000) // 2)
    >>> found = bridge_of_arms(arm(0.0), arm(0.05))
    >>> found.net.low < 25_000 < found.net.high, [step.name for step in found.steps][:2]
    (True, ['gross', 'fees'])
    """
    both = (control, treatment)
    columns = {name: [(arm.money[:, k], None) for arm in both] for k, name in enumerate(STEPS)}
    net = [(arm.money.sum(axis=1), None) for arm in both]
    attempts = [(arm.attempt_approved[:, 0], arm.attempt_approved[:, 1]) for arm in both]
    payments = [(arm.payment_approved, None) for arm in both]

    def step(name: str, sides: Sequence[tuple[Floats, Floats | None]]) -> Step:
        if not any(y.any() for y, _ in sides):
            return Step(name, 0.0, 0.0, 0.0, 0.0)
        before, after = (Moments.clustered(y, arm.unit, denominator=d) for arm, (y, d) in zip(both, sides, strict=True))
        found = compare(before, after, alpha=alpha)
        events = float(min(np.count_nonzero(y) for y, _ in sides))
        return Step(name, PER * float(found.estimate), PER * float(found.low), PER * float(found.high), events)

    return Bridge(
        payments=len(control.unit) + len(treatment.unit),
        approval={"attempts": step("attempts", attempts), "payments": step("payments", payments)},
        steps=tuple(step(name, sides) for name, sides in columns.items()),
        net=step("net", net),
    )


def bridge_of_summary(found: Mapping[str, Any], policy: str, baseline: str) -> Impact:
    """From the JSON of `greenlane evaluate policies`: it has intervals for the net alone, so the steps are points.

    Raises InputError where the JSON is of another kind.
    """
    try:
        new, old = found["policies"][policy], found["policies"][baseline]
        pair = found["paired"].get(f"{policy}_minus_{baseline}")
    except (KeyError, TypeError, AttributeError) as error:
        hint = "give the JSON of `greenlane evaluate policies` and two of its policies"
        raise InputError(f"this is no evaluation of {policy} and {baseline}", param="FILE", hint=hint) from error
    if pair is None:
        hint = "only differences to the joint policy have intervals: --policy joint"
        raise InputError(f"{policy} was not compared with {baseline}", param="--policy", hint=hint)
    moved = {name: new[f"{name}_approval_pct"] - old[f"{name}_approval_pct"] for name in ("attempt", "payment")}
    fees = -(new["fees_per_1000"] - old["fees_per_1000"])
    nowhere = float("nan")
    bridge = Bridge(
        payments=int(found["payments"]) * int(found["seeds"]),
        approval={f"{name}s": Step(f"{name}s", 10 * gap, nowhere, nowhere) for name, gap in moved.items()},
        steps=(
            Step("fees", fees, nowhere, nowhere),
            Step("all but fees", pair[0] - fees, nowhere, nowhere),
        ),
        net=Step("net", *pair),
    )
    title = f"{policy} instead of {baseline} in {found['world']}"
    notes = ("true expected money of a simulated world; only the net has an interval",)
    return Impact(title=title, source="simulation", currency=found["currency"], bridge=bridge, groups={}, notes=notes)


def named_groups(labels: Sequence[str]) -> dict[str, Flags]:
    """Rows of each label, the largest first; what is beyond GROUPS_MAX is "others".

    >>> {name: rows.tolist() for name, rows in named_groups(["a", "b", "a"]).items()}
    {'a': [True, False, True], 'b': [False, True, False]}
    """
    names, place, count = np.unique(np.array(labels, dtype=str), return_inverse=True, return_counts=True)
    order = np.argsort(-count, kind="stable")
    found = {str(names[at]) or "unnamed": place == at for at in order[:GROUPS_MAX]}
    if len(order) > GROUPS_MAX:
        found["others"] = ~np.any(list(found.values()), axis=0)
    return found
