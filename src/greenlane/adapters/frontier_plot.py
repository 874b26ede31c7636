"""The frontier as a picture: what each family saves against what its answer takes."""

from collections.abc import Sequence
from typing import Any

from greenlane.adapters.plots import BLUE, GREY, RED, drawn
from greenlane.learning.frontier import Candidate, Choice


def frontier(candidates: Sequence[Candidate], choice: Choice | None, *, budget_us: float) -> str:
    """SVG: value over p99 latency with 95 % intervals; the line is the budget, the red one is chosen."""

    def picture(axes: Any, _: Any) -> None:
        for one in candidates:
            value, colour = one.saved_per_1000_minor, RED if choice and one.family == choice.family else BLUE
            spread = [[value.value - value.low], [value.high - value.value]]
            axes.errorbar([one.served.p99_us], [value.value], yerr=spread, fmt="o", color=colour, linewidth=1)
            axes.annotate(one.family, (one.served.p99_us, value.value), xytext=(5, 5), textcoords="offset points")
        axes.axvline(budget_us, color=GREY, linestyle=":")
        axes.set(xscale="log", xlabel="p99 of one answer, us", ylabel="saved per 1,000 payments, minor units")
        axes.margins(x=0.25)

    return drawn(picture, None)
