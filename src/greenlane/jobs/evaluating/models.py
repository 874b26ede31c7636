"""The models that all policies share, fitted once for each world on a warm-up log, and kept by the world's hash.

The warm-up log is what a new tenant's past would be: people of another seed, in the days just before, decided by a
logging policy that picks among the admissible actions at random. Fraud is learned from its approved unauthenticated
payments only (p_A; the stated q_f / q_g turns it into p), with labels that have matured. The informed oracle's p comes
from a larger log in which everybody's label is known, whatever was decided.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.adapters.lightgbm_trainer import LightGbm
from greenlane.jobs.evaluating.contest import Case, Contest, Logged, Move, answer_entry
from greenlane.jobs.evaluating.contestants import Staged
from greenlane.jobs.evaluating.hands import DRAW, POLICY, Hands, Memo, ModelBelief, PriorBelief, unit_of
from greenlane.jobs.evaluating.observables import NAMES, Observer, Vocabulary
from greenlane.journal.freeze import Reporting, freeze
from greenlane.learning.approval_fit import learn
from greenlane.learning.approval_set import Sample, Samples
from greenlane.learning.calibrate import calibrate
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Fit, fit
from greenlane.models.approval_model import ApprovalModel, Calibrators
from greenlane.models.approval_rows import AUTHENTICATED, COLUMNS, EXEMPT, PLAIN, Encoding
from greenlane.models.calibration import E9, AnyCalibrator
from greenlane.models.flat_trees import NODE, FlatTrees
from greenlane.payments.codes import decline_of
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy import recovery
from greenlane.policy.actions import BLOCK, Action
from greenlane.policy.approving import situation_of
from greenlane.policy.baselines import DEFAULT_KEY, KEYS, SuccessRateWindow
from greenlane.policy.distribution import TOTAL
from greenlane.policy.heard import kind_of
from greenlane.policy.history import History
from greenlane.policy.limits import Limits
from greenlane.ports.journal import Entry
from greenlane.ports.subjects import MemorySubjects
from greenlane.settings import make_directory, write_whole
from greenlane.simulation.answers import Answer, Sent
from greenlane.simulation.living import START_US, Living
from greenlane.simulation.parameters import Parameters
from greenlane.simulation.world import World

WARM: Final = 10_000
"""Attempts of the warm-up log that routers hear of before they begin."""
WARM_SEED: Final = 1_000_003
"""People of the warm-up log; no evaluation seed comes near."""
CHALLENGED: Final = 0.15
EXEMPTED: Final = 0.15
"""Of the logging policy, where admissible; the rest is allowed."""
VERSION: Final = 6
"""Raised when anything here, or the recipe of `learning`, changes what is kept."""

BESIDE_MIN: Final = 50_000
"""Fits on fewer payments are not worth a process of their own."""

Row = tuple[Case, Sent, Answer]
"""One attempt of a log."""
Tell = Callable[[str], None]


class Sizes(NamedTuple):
    """How many payments each fit gets."""

    logged: int = 100_000
    """In the warm-up log."""
    tuned: int = 10_000
    """By which the success-rate window's setting is chosen."""
    uncensored: int = 400_000
    """Behind the oracle's fraud probability."""


USUAL: Final = Sizes()


class FraudTrees(Struct, frozen=True):
    """A fraud model as it is kept."""

    nodes: bytes
    roots: bytes
    calibrator: AnyCalibrator
    shift: float
    """Added to the log-odds: from p_A to p."""


class ApprovalTrees(Struct, frozen=True):
    """An approval model as it is kept."""

    nodes: bytes
    roots: bytes
    calibrators: Calibrators
    encoding: Encoding

    @property
    def model(self) -> ApprovalModel:
        return ApprovalModel(
            "evaluation", trees_of(self.nodes, self.roots, len(COLUMNS)), self.calibrators, self.encoding
        )


class Kept(Struct, frozen=True):
    """What is kept of one world."""

    vocabulary: Vocabulary
    fraud: FraudTrees
    oracle_fraud: FraudTrees
    approval: ApprovalTrees
    recovery: bytes
    """The dumped table of what further tries bring."""
    warm: list[Logged]
    """The last attempts of the log."""
    best_key: str = DEFAULT_KEY
    best_by_money: bool = True
    """The success-rate window's best setting on people that nothing else meets."""


class TreeScorer:
    """Fraud probabilities of one course; it remembers who came before."""

    def __init__(self, kept: FraudTrees, vocabulary: Vocabulary):
        self._trees = trees_of(kept.nodes, kept.roots, len(NAMES))
        self._calibrator, self._shift = kept.calibrator, kept.shift
        self._observer = Observer(vocabulary)

    def score(self, facts: Sequence[Facts]) -> list[int]:
        margins = self._trees.margins(np.ascontiguousarray(self._observer.observe(facts)))
        p = self._calibrator.probabilities(margins)
        odds = p / (1.0 - p) * np.exp(self._shift)
        return [int(each) for each in np.rint(E9 * odds / (1.0 + odds))]


def trees_of(nodes: bytes, roots: bytes, features: int) -> FlatTrees:
    return FlatTrees(np.frombuffer(nodes, NODE), np.frombuffer(roots, np.int32), features=features)


class Unscored:
    """While nothing is learned yet."""

    def score(self, facts: Sequence[Facts]) -> list[int]:
        return [1_000_000] * len(facts)


class Logger:
    """The logging policy: any admissible action but a review, at random, and what came of it."""

    def __init__(self) -> None:
        self.hands = Hands(PriorBelief(), online=False)
        self.rows: list[Row] = []

    def first(self, case: Case) -> Move:
        return self.random(case, case.arrival.at_us)

    def random(self, case: Case, now_us: int) -> Move:
        _, may = self.hands.may(case, now_us)
        point, place = DRAW("warm intervention", unit_of(case)) / TOTAL, DRAW("warm way", unit_of(case))
        wanted = "challenge" if point < CHALLENGED else "exempt" if point < CHALLENGED + EXEMPTED else "allow"
        rows = [row for row in may.rows if row.intervention == wanted] or [
            row for row in may.rows if row.intervention in ("allow", "exempt", "challenge")
        ]
        if not rows:
            return Move(BLOCK, now_us)
        row = rows[place % len(rows)]
        ways = [way for at, way in enumerate(may.ways) if row.ways >> at & 1]
        return Move(Action(row.intervention, row.exemption, *ways[place // 7 % len(ways)]), now_us)

    def next(self, case: Case, now_us: int) -> Move | None:
        """Half of the declined are tried again, the payer's at once, the others after one to 21 days."""
        if DRAW("warm again", unit_of(case)) % 2:
            return None
        days = 1 + DRAW("warm days", unit_of(case)) % 21
        later_us = now_us + (days * DAY_US if case.facts.initiator == "mit" else 2_000_000)
        move = self.random(case, later_us)
        return None if move.action.intervention == "block" else move

    def hear(self, case: Case, sent: Sent, answer: Answer) -> None:
        self.rows.append((case, sent, answer))


def place_of(world: World, cache: Path, sizes: Sizes) -> Path:
    return cache / f"{world.digest[:16]}-{VERSION}-{'-'.join(map(str, sizes))}.msgpack"


def models_of(world: World, cache: Path, tell: Tell, *, sizes: Sizes = USUAL) -> Kept:
    """From the cache, or fitted now (minutes)."""
    path = place_of(world, cache, sizes)
    if path.exists():
        return msgspec.msgpack.decode(path.read_bytes(), type=Kept)
    make_directory(cache)
    kept = learned(world, sizes, tell)
    write_whole(path, msgspec.msgpack.encode(kept))
    return kept


def learned(world: World, sizes: Sizes, tell: Tell) -> Kept:
    """From a log first; then, in two processes where there is much to do, the oracle's model and everybody else's."""
    name = world.parameters.name
    tell(f"{name}: a warm-up log of {sizes.logged:,} payments")
    logger = Logger()
    living = Living(world, WARM_SEED, start_us=START_US - warm_us(world, sizes.logged))
    Contest(living, logger, Unscored(), Limits()).run("logging", sizes.logged)
    first: dict[int, Row] = {}
    for row in logger.rows:
        first.setdefault(row[0].place, row)
    firsts = [first[place] for place in sorted(first)]
    vocabulary = Vocabulary.learned([case.facts for case, _, _ in firsts])
    tell(f"{name}: the oracle's fraud probability from {sizes.uncensored:,} payments")
    oracle = beside(uncensored, world.parameters, world.digest, vocabulary, sizes.uncensored)
    tell(f"{name}: fraud from {len(firsts):,} logged payments")
    fraud = fraud_of(firsts, vocabulary)
    tell(f"{name}: approval from {len(logger.rows):,} logged attempts")
    approval = approval_of(samples_of(logger.rows, world))
    last = logger.rows[-WARM:]
    warm = [Logged(case.facts, sent.route, sent.credential, answer.approved) for case, sent, answer in last]
    tell(f"{name}: the success-rate window's best setting")
    best = best_window(world, lambda: TreeScorer(fraud, vocabulary), approval.model, warm, payments=sizes.tuned)
    table = recovery.learned(entries_of(logger.rows)).dump()
    return Kept(vocabulary, fraud, oracle(), approval, table, warm, *best)


def beside(work: Callable[..., FraudTrees], *told: Any) -> Callable[[], FraudTrees]:
    """Starts the work in another process; what is returned waits for it. Little work is done where it is asked for."""
    if told[-1] < BESIDE_MIN:
        return lambda: work(*told)
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    future = pool.submit(work, *told)
    pool.shutdown(wait=False)
    return future.result


def fraud_of(firsts: Sequence[Row], vocabulary: Vocabulary) -> FraudTrees:
    """p, from those first attempts that were approved without authentication."""
    seen = Observer(vocabulary).observe([case.facts for case, _, _ in firsts])
    labelled = [place for place, row in enumerate(firsts) if approved_plainly(row)]
    reported = np.array([is_reported(firsts[place][2]) for place in labelled])
    shift = -float(np.log(POLICY.priors.fraud_approval_ppm / 1e6))
    return fitted(seen[labelled], reported, [firsts[place][0].facts for place in labelled], shift)


def best_window(
    world: World, scorer: Callable[[], TreeScorer], model: ApprovalModel, warm: Sequence[Logged], *, payments: int
) -> tuple[str, bool]:
    """The key, and whether fees count, with which the success-rate window earns most on a seed of its own."""
    net, memo = {}, Memo()
    for key in KEYS:
        for by_money in (False, True):
            hands = Hands(ModelBelief(model, memo), online=False)
            contestant = Staged(hands, SuccessRateWindow(key, by_money=by_money), warm)
            contest = Contest(Living(world, WARM_SEED + 2), contestant, scorer(), Limits())
            net[key, by_money] = float(contest.run(key, payments).net_minor.sum())
    return max(net, key=net.__getitem__)


def warm_us(world: World, payments: int) -> int:
    """How long the log lasts, so that it ends when the evaluation begins."""
    few = list(Living(world, WARM_SEED).arrivals(2_000))
    return int((few[-1].at_us - few[0].at_us) / 2_000 * payments) // DAY_US * DAY_US


def approved_plainly(row: Row) -> bool:
    _, sent, answer = row
    return answer.approved and sent.intervention in ("allow", "exempt")


def is_reported(answer: Answer) -> bool:
    return any(o.type == "fraud_report" or (o.type == "dispute" and o.reason == "fraud") for _, o in answer.outcomes)


def samples_of(rows: Sequence[Row], world: World) -> Samples:
    """What the product's own training set would hold of this log."""
    samples = Samples(routes={route.id: (route.acquirer, route.country) for route in world.parameters.routes})
    for case, sent, answer in rows:
        facts, before = case.facts, case.tried[: sent.attempt_no - 1]
        technical = not answer.approved and kind_of("declined", facts.network, answer.code) == "technical"
        if answer.result not in ("approved", "declined") or technical:
            continue
        soft = not answer.approved and decline_of(facts.network, answer.code).decline_class == "sca"
        exempt = sent.intervention == "exempt"
        if exempt:
            samples.exempted.append((facts.issuer_id, soft, answer.sent_at_us))
        if exempt and soft:
            continue
        shown = answer.authentication
        mode = EXEMPT if exempt else AUTHENTICATED if shown is not None and shown.shifted else PLAIN
        situation = situation_of(case.arrival.attempt, facts, History(tried=before), at_us=answer.sent_at_us)
        genuine = 0.0 if is_reported(answer) else 1.0
        samples.rows.append(Sample(situation, sent.route, sent.credential, mode, answer.approved, genuine))
    samples.rows.sort(key=lambda row: row.situation.at_us)
    return samples


def approval_of(samples: Samples) -> ApprovalTrees:
    learned = learn(samples, LightGbm(threads=1))
    trees = trees_in(learned.fit)
    return ApprovalTrees(trees.nodes.tobytes(), trees.roots.tobytes(), learned.calibrators, learned.encoded.encoding)


def fitted(seen: NDArray[np.float32], reported: NDArray[np.bool_], facts: Sequence[Facts], shift: float) -> FraudTrees:
    """Trees and a calibrator chosen on held-out time, by the product's own recipe."""
    examples = Examples(
        names=NAMES,
        X=np.ascontiguousarray(seen),
        y=reported.astype(np.int8),
        weight=np.ones(len(reported)),
        at_us=np.array([each.payment_us for each in facts], np.int64),
        amount_minor=np.array([each.amount_minor for each in facts], np.int64),
        card=np.array([each.card for each in facts], np.int64),
    )
    found = fit(LightGbm(threads=1), examples)
    rows = found.held_out.rows
    calibration = calibrate(found.held_out.margins, examples.y[rows], examples.weight[rows], at_us=examples.at_us[rows])
    trees = trees_in(found)
    return FraudTrees(trees.nodes.tobytes(), trees.roots.tobytes(), calibration.calibrator, shift)


def trees_in(found: Fit) -> FlatTrees:
    trees = found.fitted.predictor()
    assert isinstance(trees, FlatTrees), "LightGBM's are trees"
    return trees


def uncensored(parameters: Parameters, digest: str, vocabulary: Vocabulary, payments: int) -> FraudTrees:
    """Everybody's label: what would be reported if approved, whether anybody would have approved it or not."""
    world = World(parameters, digest)
    observer, subjects = Observer(vocabulary), MemorySubjects()
    reporting = Reporting(world.parameters.currency)
    facts, seen, reported = list[Facts](), list[NDArray[np.float32]](), list[bool]()
    arrivals = Living(world, WARM_SEED + 1).arrivals(payments)
    while chunk := list(islice(arrivals, 10_000)):
        known = [freeze(a.attempt, subjects=subjects, reporting=reporting, ingest_us=a.at_us) for a in chunk]
        facts += known
        seen.append(observer.observe(known))
        reported += [a.truth.would_be_reported for a in chunk]
    return fitted(np.concatenate(seen), np.array(reported), facts, 0.0)


def entries_of(rows: Sequence[Row]) -> Iterator[Entry]:
    """The log's answers as a journal has them."""
    for case, sent, answer in rows:
        if answer.result in ("approved", "declined"):
            yield answer_entry(case, sent, answer, answer.at_us)
