"""Which family is worth serving: value on held-out time against what an answer takes."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.learning.evaluate import Evaluation, Priced
from greenlane.learning.examples import Examples
from greenlane.learning.money import Stakes
from greenlane.learning.resampling import Figure, Resampled, ends
from greenlane.learning.served import Served

Floats = NDArray[np.float64]
BUDGET_US: Final = 500.0
"""Of a decision's few milliseconds, what one model's answer may take at p99."""
REPLICATES: Final = 400


class Candidate(Struct, frozen=True):
    """One family, fitted, published, loaded and measured."""

    family: str
    trainer: str
    evaluation: Evaluation
    saved_per_1000_minor: Figure
    """Against believing in no fraud; see `Value.saved`."""
    served: Served
    fit_seconds: float
    parameters: dict[str, float]


class Choice(Struct, frozen=True):
    family: str
    why: str
    ahead: dict[str, Figure]
    """By how much the best family's saving is above each other's, per 1,000 payments."""


class Value:
    """What each family's decisions save on the same payments, and by how much they differ, over resampled cards."""

    def __init__(self, test: Examples, *, money: Priced | None = None, seed: int = 0):
        self.test, self.stakes, self.money = test, Stakes.of(test.amount_minor), money
        self._cards = Resampled.of(test.card, seed=seed, replicates=REPLICATES)
        self._payments = self._cards.totals(test.weight)

    def saved(self, probabilities: Floats) -> Floats:
        """Per row, minor units: what the policy earns more than if it believed in no fraud, on the rows it has valued.

        Without such rows: what blocking above each payment's stated break-even saves.
        """
        if self.money is not None:
            rows, values, weight = self.money
            found, y = np.zeros(len(self.test)), self.test.y[rows]
            found[rows] = weight * (values.earned(probabilities[rows], y) - values.earned(np.zeros(len(rows)), y))
            return found
        nothing = self.stakes.cost(np.zeros(len(self.test), bool), self.test.y)
        blocking: Floats = self.test.weight * (nothing - self.stakes.decided_cost(probabilities, self.test.y))
        return blocking

    def per_1000(self, minor: Floats) -> Figure:
        """Of a column of rows, with its 95 % interval."""
        drawn = 1000.0 * self._cards.totals(minor) / self._payments
        return Figure(1000.0 * float(minor.sum() / self.test.weight.sum()), *ends(drawn))


def choose(
    candidates: Sequence[Candidate], saved: Mapping[str, Floats], value: Value, *, budget_us: float = BUDGET_US
) -> Choice | None:
    """The best value within the budget; of those that it is not clearly better than, the fastest.

    A family whose probabilities are shown to be wrong is taken only where there is no other: money is counted by them.
    """
    fitting = [c for c in candidates if c.served.p99_us <= budget_us]
    sound = [c for c in fitting if c.evaluation.verdict != "not calibrated"] or fitting
    if not sound:
        return None
    best = max(sound, key=lambda c: c.saved_per_1000_minor.value)
    ahead = {c.family: value.per_1000(saved[best.family] - saved[c.family]) for c in candidates if c is not best}
    tied = [c for c in sound if c is best or ahead[c.family].low <= 0.0]
    chosen = min(tied, key=lambda c: c.served.p50_us)
    within = f"within {budget_us:,.0f} us at p99"
    if chosen is best:
        why = f"no other saves more {within}" + ("" if len(tied) == 1 else ", and none that ties with it is faster")
    else:
        lead = ahead[chosen.family]
        why = (
            f"{best.family} saves {lead.value:,.0f} minor units more per 1,000 payments {within}, but the interval "
            f"({lead.low:,.0f} to {lead.high:,.0f}) holds 0: a tie, and {chosen.family} answers in "
            f"{chosen.served.p50_us:.0f} us instead of {best.served.p50_us:.0f}"
        )
    beyond = [
        c for c in candidates if c not in fitting and c.saved_per_1000_minor.value > best.saved_per_1000_minor.value
    ]
    if beyond:
        why += f"; {', '.join(c.family for c in beyond)} saved more, beyond the budget"
    if len(sound) < len(fitting):
        out = ", ".join(c.family for c in fitting if c not in sound)
        why += f"; {out} left out: not calibrated"
    return Choice(chosen.family, why, ahead)
