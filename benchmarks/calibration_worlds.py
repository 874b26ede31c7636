"""Do calibration verdicts hold on held-out time, in every world, for fraud and for approval?

    PYTHONPATH=src python -m benchmarks.calibration_worlds --payments 700000 --json proofs/calibration_worlds.json

Fraud: everybody's label (would be reported if approved), heard as late as the world says; learned from what was known
when the held-out time began, through the maturity loss; judged on final labels. Frauds are few, .17 to .45 % of
payments, so that 400 held-out events take about 700,000 payments (200,000 in `us`).

Approval: the product's own path from a simulated journal, judged on the latest fifth of the attempts.

    PYTHONPATH=src python -m benchmarks.calibration_worlds --worlds us --payments 150000 --across 8

Error or luck? Fraud models of so many histories, each judged on the held-out time of all the others, where there are
enough events to tell; beside the calibrators that count all of the past alike.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
from greenlane.learning.reliability import slope_check
from greenlane.models.calibration import AnyCalibrator
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.ports.subjects import MemorySubjects
from greenlane.simulation.living import Living
from greenlane.simulation.world import World

WORLDS = ("europe", "us", "subscriptions", "calm")
GAP_US, HELD_OUT, CHUNK = 7 * DAY_US, 0.4, 10_000


class History(NamedTuple):
    rows: Examples
    """With their final labels."""
    heard: np.ndarray
    """When each label was heard, int64[rows] in microseconds; 0 without."""
    vocabulary: Vocabulary

    @property
    def start_us(self) -> int:
        """Where the held-out time begins."""
        at_us = self.rows.at_us
        return int(at_us[0] + (at_us[-1] - at_us[0]) * (1 - HELD_OUT))

    @property
    def later(self) -> Examples:
        return self.rows.take(self.rows.at_us >= self.start_us)


def history(world: World, n: int, seed: int, vocabulary: Vocabulary | None = None) -> History:
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
        vocabulary = vocabulary or Vocabulary.learned(known)
        observer = observer or Observer(vocabulary)
        seen.append(observer.observe(known))
        facts += known
        heard_us += [a.at_us + a.truth.report_delay_us if a.truth.would_be_reported else 0 for a in chunk]
    assert vocabulary is not None, "there were payments"
    heard = np.array(heard_us, np.int64)
    return History(
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
        vocabulary,
    )


class Learned(NamedTuple):
    margins: Callable[[Any], Any]
    calibrator: AnyCalibrator
    unfaded: AnyCalibrator
    """The one that counts all of the past alike."""


def learn(past: History) -> Learned:
    rows, heard, start_us = past.rows, past.heard, past.start_us
    old = np.flatnonzero(rows.at_us < start_us)
    known = (heard[old] > 0) & (heard[old] < start_us)
    age_us = start_us - rows.at_us[old]
    maturity = learn_maturity((heard[old] - rows.at_us[old])[known], age_us[known])
    loss = loss_rows(known.astype(np.int8), maturity.at(age_us))
    taken = rows.take(old[loss.row])
    learned = Examples(taken.names, taken.X, loss.y, loss.weight, taken.at_us, taken.amount_minor, taken.card)
    fitted = fit(LightGbm(threads=1), learned, gap_us=GAP_US)
    at = fitted.held_out.rows
    calibrators = [
        calibrate(
            fitted.held_out.margins, learned.y[at], learned.weight[at], at_us=learned.at_us[at], fade=fade
        ).calibrator
        for fade in (True, False)
    ]
    return Learned(fitted.fitted.margins, *calibrators)


def fraud(world: World, n: int, seed: int) -> Evaluation:
    past = history(world, n, seed)
    model, later = learn(past), past.later
    margins = np.asarray(model.margins(later.X), np.float64)
    return evaluate(margins, model.calibrator.probabilities(margins), later, seed=seed)


def across(world: World, n: int, seeds: int) -> dict[str, Any]:
    """Over models: log(observed / expected) and slope on the others' held-out time, and verdicts on each of it."""
    past = [history(world, n, 1)]
    past += [history(world, n, seed, past[0].vocabulary) for seed in range(2, seeds + 1)]
    found: dict[str, list[tuple[float, float]]] = {}
    verdicts: dict[str, list[str]] = {}
    for number, one in enumerate(past):
        model, others = learn(one), [each.later for place, each in enumerate(past) if place != number]
        margins = [np.asarray(model.margins(each.X), np.float64) for each in others]
        y = np.concatenate([each.y for each in others]).astype(np.float64)
        for name, calibrator in (("recent time", model.calibrator), ("all alike", model.unfaded)):
            p = [calibrator.probabilities(each) for each in margins]
            said, weight = np.concatenate(p), np.ones(len(y))
            found.setdefault(name, []).append((float(np.log(y.sum() / said.sum())), slope_check(said, y, weight).value))
            verdicts.setdefault(name, []).extend(
                evaluate(m, q, each, replicates=50).verdict for m, q, each in zip(margins, p, others, strict=True)
            )
    return {
        name: {
            "log_ratio_mean": float(np.mean([ratio for ratio, _ in each])),
            "log_ratio_sd": float(np.std([ratio for ratio, _ in each])),
            "slope_mean": float(np.mean([slope for _, slope in each])),
            "verdicts": {said: verdicts[name].count(said) for said in sorted(set(verdicts[name]))},
        }
        for name, each in found.items()
    }


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
    parser.add_argument("--across", type=int, default=0, help="Judge models of so many seeds on each other's time.")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    told: list[dict[str, Any]] = []
    for name in asked.worlds:
        if asked.across:
            told.append({"world": name, "across": across(World.load(name), asked.payments, asked.across)})
            print(msgspec.json.format(msgspec.json.encode(told[-1])).decode(), flush=True)
            continue
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
