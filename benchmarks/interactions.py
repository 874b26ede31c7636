"""What deciding everything at once is worth, by how strongly routes, interventions and retries interact.

    python benchmarks/interactions.py [--world europe] [--strengths 0 0.5 1 2] [--seeds 6] [--payments 8000]
        [--report FILE] [--json FILE]

At 0 nothing ties a route to an intervention, a credential or a retry; 1 is as the prior of worlds draws it. The regret
ratio is joint's regret to the informed oracle over the best baseline's. Models are fitted for each strength.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from greenlane.adapters.plots import BLUE, GREY
from greenlane.cli.shown import print_grid, tell, write_json
from greenlane.cli.worlds import CACHE
from greenlane.jobs.evaluating.evaluate import evaluate
from greenlane.jobs.evaluating.models import USUAL, Sizes, Tell
from greenlane.jobs.evaluating.report import picture, whole
from greenlane.jobs.evaluating.results import JOINT, Triple, money
from greenlane.learning.pages import page as page_of


class Strength(Struct, frozen=True):
    """What deciding at once is worth in a world whose interactions are this strong. Money per 1,000 payments."""

    interaction: float
    best_baseline: str
    joint_minus_best_baseline: Triple
    joint_regret: Triple
    best_baseline_regret: Triple
    regret_ratio: float


def by_interaction(
    world: str, strengths: Sequence[float], *, seeds: int, payments: int, cache: Path, tell: Tell = lambda _: None,
    sizes: Sizes = USUAL, processes: int | None = None,
) -> list[Strength]:  # fmt: skip
    """The regret ratio against the strength of interactions, from none (0) upwards; each has models of its own."""
    found = []
    for strength in strengths:
        tell(f"interaction {strength:g}")
        one = evaluate(
            world, seeds=seeds, payments=payments, cache=cache, interaction=strength, tell=tell, sizes=sizes,
            processes=processes,
        )  # fmt: skip
        joint, best = one.policies[JOINT], one.policies[one.best_baseline]
        found.append(
            Strength(
                strength, one.best_baseline, one.paired["joint_minus_best_baseline"], joint.regret_per_1000,
                best.regret_per_1000, one.regret_ratio,
            )
        )  # fmt: skip
    return found


def interaction_page(world: str, found: Sequence[Strength]) -> str:
    title = f"{world}: what deciding at once is worth"
    return page_of(title, whole(interaction_table(found)), picture(ratio_curve, found))


def interaction_table(found: Sequence[Strength]) -> list[list[str]]:
    header = ["interaction", "best baseline", "joint less it", "95 %", "regret of joint", "of the baseline", "ratio"]
    rows = []
    for one in found:
        mean, low, high = one.joint_minus_best_baseline
        regrets = money(one.joint_regret[0]), money(one.best_baseline_regret[0]), f"{one.regret_ratio:.2f}"
        span = f"{money(low)} to {money(high)}"
        rows.append([f"{one.interaction:g}", one.best_baseline, money(mean), span, *regrets])
    return [header, *rows]


def ratio_curve(axes: Any, found: Sequence[Strength]) -> None:
    """Joint's regret over the best baseline's, by the strength of interactions: below 1 deciding at once pays."""
    axes.plot([one.interaction for one in found], [one.regret_ratio for one in found], color=BLUE, marker="o")
    axes.axhline(1.0, color=GREY, linewidth=1)
    axes.set(xlabel="strength of interactions", ylabel="regret ratio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", default="europe", help="a world's name, or the path of a world file")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0], help="0: none")
    parser.add_argument("--seeds", type=int, default=6, help="runs of the world at each strength")
    parser.add_argument("--payments", type=int, default=8_000, help="in each run")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where fitted models are kept, by the world's hash")
    parser.add_argument("--processes", type=int, help="default: one for each core")
    parser.add_argument("--report", type=Path, help="an HTML page: the table and the curve")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    world, seeds, payments = given.world, given.seeds, given.payments
    found = by_interaction(
        world, given.strengths, seeds=seeds, payments=payments, cache=given.cache, processes=given.processes, tell=tell
    )
    write_json({"world": world, "seeds": seeds, "payments": payments, "by_interaction": found}, given.json)
    if given.report:
        given.report.write_text(interaction_page(world, found), encoding="utf-8")
    print_grid(f"{world}: {seeds} seeds of {payments:,} payments each", interaction_table(found))


if __name__ == "__main__":
    main()
