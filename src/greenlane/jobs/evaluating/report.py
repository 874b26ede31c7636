"""HTML pages of an evaluation that need nothing beside them: the tables and the curves."""

from collections.abc import Sequence
from html import escape
from itertools import accumulate
from typing import Any, Final

from greenlane.adapters.plots import BLUE, GREY, RED, drawn
from greenlane.jobs.evaluating.results import JOINT, Evaluated, Triple, money, table
from greenlane.learning.pages import figure, grid
from greenlane.learning.pages import page as page_of

COLOURS: Final = (RED, "#17803d", "#8a6100", "#6d4aa8", "#1c2430", GREY)


def page(found: Evaluated) -> str:
    title = f"{found.world}: {found.seeds} seeds of {found.payments:,} payments"
    return page_of(
        title,
        f"<p>Net value per 1,000 payments in {escape(found.currency)}, true expected money; 95 % intervals over seeds "
        f"and payers. World {found.world_hash[:12]}.</p>",
        whole(table(found)),
        f"<h2>Differences per 1,000 payments, paired</h2>{whole(paired_table(found))}",
        picture(learning_curve, found),
    )


def markdown(found: Evaluated) -> str:
    """The short table, best policy first, with the command and the size behind it: what a README can quote."""
    order = sorted(found.policies.items(), key=lambda item: -item[1].net_per_1000[0])
    net = f"net {found.currency} per 1,000 payments"
    header = ["policy", net, "joint's lead", "payments approved %", "fraud bps", "fees", "retries", "forbidden"]
    rows = []
    for name, one in order:
        lead = found.paired.get(f"joint_minus_{name}")
        rows.append([
            name.replace("_", " "), spanned(one.net_per_1000), "" if lead is None else spanned(lead),
            f"{one.payment_approval_pct:.1f}", f"{one.reported_fraud_bps:.0f}", money(one.fees_per_1000),
            f"{one.retries_per_1000:.0f}", str(one.forbidden_retries),
        ])  # fmt: skip
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join([
        *(f"| {' | '.join(line)} |" for line in lines), "",
        f"`greenlane evaluate policies --world {found.world}`: {found.seeds} seeds of {found.payments:,} payments, "
        f"95 % intervals; joint's regret to the oracle is {found.regret_ratio:.2f} of the best baseline's "
        f"({found.best_baseline.replace('_', ' ')}).", "",
    ])  # fmt: skip


def spanned(found: Triple) -> str:
    """
    >>> spanned((123_456.0, 100_000.0, 150_000.0))
    '1,235 [1,000, 1,500]'
    """
    mean, low, high = found
    return f"{money(mean)} [{money(low)}, {money(high)}]"


def whole(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is the header."""
    return grid(rows[0], rows[1:])


def picture(draw: Any, data: Any) -> str:
    return figure(drawn(draw, data), draw.__doc__)


def paired_table(found: Evaluated) -> list[list[str]]:
    rows = [
        [name.replace("_", " "), money(mean), f"{money(low)} to {money(high)}"]
        for name, (mean, low, high) in found.paired.items()
    ]
    return [["difference", "per 1,000", "95 %"], *rows]


def learning_curve(axes: Any, found: Evaluated) -> None:
    """Regret to the informed oracle, mean so far: what a policy still learns bends its curve down."""
    for (name, values), colour in zip(ordered(found), (BLUE, *COLOURS * 5), strict=False):
        so_far = [total / place for place, total in enumerate(accumulate(values), start=1)]
        axes.plot([100 * place / len(values) for place in range(1, len(values) + 1)], so_far, color=colour, label=name)
    axes.set(xlabel="% of the payments", ylabel=f"regret per 1,000, {found.currency} minor units")
    axes.legend(fontsize=7)


def ordered(found: Evaluated) -> list[tuple[str, list[float]]]:
    """The joint policy first, then by regret; the oracle's own is nothing."""
    rest = sorted(found.learning.items(), key=lambda item: sum(item[1]))
    chosen = [item for item in rest if item[0] != JOINT and any(item[1])]
    return [(JOINT, found.learning[JOINT]), *chosen]
