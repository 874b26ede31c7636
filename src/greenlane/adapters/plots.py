"""The pictures of an evaluation and of a comparison, drawn by matplotlib as SVG text without a display."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from greenlane.learning.evaluate import Evaluation
from greenlane.learning.frontier import Candidate, Choice
from greenlane.learning.reliability import Bin
from greenlane.learning.stability import Week

BLUE, RED, GREY = "#2563a8", "#b42318", "#8a94a1"


def plots(evaluation: Evaluation) -> dict[str, str]:
    """Caption to SVG; equal evaluations give equal bytes."""
    pictures = [precision_recall, costs, histogram]
    if evaluation.policy is not None:
        pictures.append(policy_curve)
    return captioned(pictures, evaluation) | calibration_plots(evaluation.bins, evaluation.weeks)


def calibration_plots(bins: list[Bin], found: list[Week]) -> dict[str, str]:
    """The same of observed over expected events, whatever they are."""
    return captioned([calibration], bins) | (captioned([weeks], found) if found else {})


def captioned(pictures: Sequence[Callable[[Any, Any], None]], told: object) -> dict[str, str]:
    return {picture.__doc__ or "": drawn(picture, told) for picture in pictures}


def drawn(picture: Any, evaluation: Any) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "greenlane", "font.size": 9, "axes.spines.top": False}):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.spines["right"].set_visible(False)
        picture(axes, evaluation)
        page = io.StringIO()
        figure.savefig(page, format="svg", metadata={"Date": None})
    text = page.getvalue()
    return text[text.index("<svg") :]


def precision_recall(axes: Any, evaluation: Evaluation) -> None:
    """Precision over recall; the dot is where each payment is blocked above its own break-even."""
    points, at = evaluation.precision_recall, evaluation.operating_point
    axes.plot([p.recall for p in points], [p.precision for p in points], color=BLUE)
    axes.axhline(evaluation.base_rate, color=GREY, linewidth=0.8, linestyle=":")
    axes.plot([at.recall], [at.precision], "o", color=RED)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def calibration(axes: Any, bins: list[Bin]) -> None:
    """Observed over expected events, in bins that expect equally many, with 95 % intervals and the band to meet."""
    middle = [max(b.expected, 1e-9) / max(b.rows, 1) for b in bins]
    spread = [[b.ratio - b.ratio_low for b in bins], [b.ratio_high - b.ratio for b in bins]]
    axes.axhspan(0.9, 1.1, color=GREY, alpha=0.2)
    axes.errorbar(middle, [b.ratio for b in bins], yerr=spread, fmt="o", color=BLUE, markersize=4, linewidth=1)
    axes.set(xlabel="probability (mean of the bin)", ylabel="observed / expected", xscale="log", ylim=(0, None))


def costs(axes: Any, evaluation: Evaluation) -> None:
    """Cost per 1,000 payments when blocking from a fixed threshold on; the line is blocking at break-even."""
    points, at = evaluation.costs[1:], evaluation.operating_point
    axes.plot([max(p.blocked_share, 1e-6) for p in points], [p.cost_per_1000_minor for p in points], color=BLUE)
    axes.axhline(at.cost_per_1000_minor, color=RED, linewidth=1)
    axes.axhline(at.allow_all_cost_per_1000_minor, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="share blocked", ylabel="cost, minor units", xscale="log", ylim=(0, None))
    axes.set_ylim(0, 1.6 * at.allow_all_cost_per_1000_minor)


def histogram(axes: Any, evaluation: Evaluation) -> None:
    """How many payments have which probability: good ones in blue, reported fraud in red."""
    edges = evaluation.histogram_edges
    axes.stairs(evaluation.histogram_good, edges, color=BLUE)
    axes.stairs(evaluation.histogram_fraud, edges, color=RED, fill=True, alpha=0.6)
    axes.set(xlabel="fraud probability", ylabel="payments", xscale="log", yscale="symlog")


def policy_curve(axes: Any, evaluation: Evaluation) -> None:
    """Value per 1,000 payments under the policy, if all log-odds were shifted; the dotted line knows each label."""
    policy = evaluation.policy
    assert policy is not None, "drawn only where there is one"
    axes.plot([p.shift for p in policy.curve], [p.value_per_1000_minor for p in policy.curve], color=BLUE)
    axes.plot([0.0], [policy.value_per_1000_minor], "o", color=RED)
    axes.axhline(policy.clairvoyant_per_1000_minor, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="added to the log-odds of fraud", ylabel="value, minor units")


def weeks(axes: Any, found: list[Week]) -> None:
    """Observed over expected events, week by week, with 95 % intervals."""
    spread = [[w.ratio - w.low for w in found], [w.high - w.ratio for w in found]]
    axes.axhspan(0.9, 1.1, color=GREY, alpha=0.2)
    axes.errorbar(range(len(found)), [w.ratio for w in found], yerr=spread, fmt="o", color=BLUE, markersize=4)
    axes.set(xlabel="week of the held-out time", ylabel="observed / expected", ylim=(0, None))


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
