"""Do calibration verdicts hold on held-out time, in every world, for fraud and for approval?

    PYTHONPATH=src python -m benchmarks.calibration_worlds --payments 700000 --json proofs/calibration_worlds.json

Fraud: everybody's label (would be reported if approved), heard as late as the world says; learned from what was known
when the held-out time began, through the maturity loss; judged on final labels. Frauds are few, .17 to .45 % of
payments, so that 400 held-out events take about 700,000 payments (200,000 in `us`).

Approval: the product's own path from a simulated journal, judged on the latest fifth of the attempts.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from greenlane.adapters.lightgbm_trainer import LightGbm
from greenlane.jobs.evaluating.observables import NAMES, Observer, Vocabulary
from greenlane.jobs.simulating import simulate
from greenlane.jobs.training import Plan
from greenlane.jobs.training_approval import train_approval
from greenlane.journal.freeze import Reporting, freeze
from greenlane.learning.approval_fit import ApprovalEvaluation
from greenlane.learning.calibrate import calibrate
from greenlane.learning.evaluate import Evaluation, evaluate
from greenlane.learning.examples import Examples
from greenlane.learning.fit import fit
from greenlane.learning.maturity import learn_maturity, loss_rows
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.ports.subjects import MemorySubjects
from greenlane.simulation.living import Living
from greenlane.simulation.world import World

WORLDS = ("europe", "us", "subscriptions", "calm")
GAP_US, HELD_OUT, CHUNK = 7 * DAY_US, 0.4, 10_000


def payments(world: World, n: int, seed: int) -> tuple[Examples, np.ndarray]:
    """(rows with their final labels, when each label was heard; 0 without)."""
    subjects, reporting = MemorySubjects(), Reporting(world.parameters.currency)
    facts: list[Facts] = []
    heard_us: list[int] = []
    seen: list[np.ndarray] = []
    observer: Observer | None = None

    def chunks() -> Iterator[list[Any]]:
        chunk: list[Any] = []
        for arrival in Living(world, seed).arrivals(n):
            chunk.append(arrival)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    for chunk in chunks():
        known = [freeze(a.attempt, subjects=subjects, reporting=reporting, ingest_us=a.at_us) for a in chunk]
        observer = observer or Observer(Vocabulary.learned(known))
        seen.append(observer.observe(known))
        facts += known
        heard_us += [a.at_us + a.truth.report_delay_us if a.truth.would_be_reported else 0 for a in chunk]
    heard = np.array(heard_us, np.int64)
    return (
        Examples(
            names=NAMES,
            X=np.ascontiguousarray(np.concatenate(seen)),
            y=(heard > 0).astype(np.int8),
            weight=np.ones(len(heard)),
            at_us=np.array([each.payment_us for each in facts], np.int64),
            amount_minor=np.array([each.amount_reporting_minor for each in facts], np.int64),
            card=np.array([each.card for each in facts], np.int64),
        ),
        heard,
    )


def fraud(world: World, n: int, seed: int) -> Evaluation:
    rows, heard = payments(world, n, seed)
    start_us = int(rows.at_us[0] + (rows.at_us[-1] - rows.at_us[0]) * (1 - HELD_OUT))
    old = np.flatnonzero(rows.at_us < start_us)
    known = (heard[old] > 0) & (heard[old] < start_us)
    age_us = start_us - rows.at_us[old]
    maturity = learn_maturity((heard[old] - rows.at_us[old])[known], age_us[known])
    loss = loss_rows(known.astype(np.int8), maturity.at(age_us))
    taken = rows.take(old[loss.row])
    learned = Examples(taken.names, taken.X, loss.y, loss.weight, taken.at_us, taken.amount_minor, taken.card)
    fitted = fit(LightGbm(threads=1), learned, gap_us=GAP_US)
    at = fitted.held_out.rows
    calibration = calibrate(fitted.held_out.margins, learned.y[at], learned.weight[at], at_us=learned.at_us[at])
    later = rows.take(rows.at_us >= start_us)
    margins = np.asarray(fitted.fitted.margins(later.X), np.float64)
    return evaluate(margins, calibration.calibrator.probabilities(margins), later, seed=seed)


def approval(name: str, payments: int, seed: int) -> ApprovalEvaluation:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "data"
        simulate(World.load(name), seed, payments, directory, lambda *_: None)
        return train_approval(directory, Plan(), promote=False, progress=lambda *_: None).evaluation


def show(name: str, model: str, found: Evaluation | ApprovalEvaluation, rows: int) -> None:
    print(f"{name:<14} {model:<9} {rows:>8,} rows  {found.verdict}", flush=True)
    for c in found.checks:
        print(f"    {c.name:<44} {c.value:7.3f} ({c.low:.3f} to {c.high:.3f}) {c.state}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS))
    parser.add_argument("--payments", type=int, default=700_000, help="Behind the fraud model; 0 leaves it out.")
    parser.add_argument("--attempts", type=int, default=40_000, help="Payments behind approval; 0 leaves it out.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    told: list[dict[str, Any]] = []
    for name in asked.worlds:
        if asked.attempts:
            answered = approval(name, asked.attempts, asked.seed)
            told.append({"world": name, "model": "approval", "evaluation": answered.record()})
            show(name, "approval,", answered, answered.attempts)
        if not asked.payments:
            continue
        began = time.process_time()
        found = fraud(World.load(name), asked.payments, asked.seed)
        told.append(
            {"world": name, "model": "fraud", "evaluation": found.record(), "cpu_s": time.process_time() - began}
        )
        show(name, f"fraud, {found.events} events,", found, found.rows)
    if asked.json:
        asked.json.write_bytes(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
