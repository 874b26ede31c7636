"""Is off-policy evaluation right? Worlds are decided live with exploration, valued from their journals, and compared
with what is true of every action that was open.

    python benchmarks/off_policy_truth.py [--world W ...] [--question Q ...] [--payments 12000] [--json FILE]

Exit status 1 where accepted intervals miss the truth, signs are wrong, or what nobody can know is not refused.

Each question has its worlds, and each of these gives one log. It is cut into stretches of time, each valued as if it
were all there is; the truth of a candidate is the mean over the whole log of the true expected money of what it would
have done less that of what was done, with the error that so many payments leave. Besides, cases are built in which
nothing can be known: they have to be refused.

    route     the way of a first attempt
    release   blocks that pass: of a shop whose reports are dear, so that it blocks what is mostly good
    retry     the way of a further attempt; what a later step brings is weighed by the steps before, as in the estimate,
              but by its true money: the noise of answers is gone, that of weights is not
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.cli.shown import err, out, print_table, progress, write_json
from greenlane.decisions.record import DecisionRecord
from greenlane.experiments.clusters import Groups
from greenlane.experiments.impact import PER, STEPS
from greenlane.jobs.deciding import decide_world, sent_of
from greenlane.jobs.valuing.claims import Claims
from greenlane.jobs.valuing.ladders import Climbed, Ladders, answered, climbed
from greenlane.jobs.valuing.questions import BLOCKED, PASSED, ROUTERS, greedy, passed_place, releaser
from greenlane.jobs.valuing.traffic import Traffic
from greenlane.jobs.valuing.value import case_of, judged, read
from greenlane.policy.actions import Action
from greenlane.policy.explore import Exploring, Kind, Releasing, Routing
from greenlane.policy.given import FREE
from greenlane.policy.parameters import Multipliers
from greenlane.ports.journal import Entry
from greenlane.simulation.answers import Terms
from greenlane.simulation.living import Living
from greenlane.simulation.world import Arrival, World
from greenlane.wiring import open_reader

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

WORLDS: Final = ("europe", "us", "subscriptions", "calm")
FLAT: Final = Exploring(
    route=Routing(epsilon_ppm=1_000_000, temperature_ppm=500_000, floor_ppm=15_000, amount_max_minor=10**9),
    release=Releasing(share_ppm=300_000, ceiling_e9=900_000_000, amount_max_minor=10**9, per_day=100),
)
"""Nearly any way, and three blocks in ten, so that candidates differ from the log by more than its noise."""
DEAR: Final = Multipliers(report_minor=2_000_000, review_minor=10**8)
"""So scarce are reports, and reviewers, that much is blocked which is not fraud."""
BANDS: Final = ("0.6@0.9", "0.45@0.9", "0.15@0.9", "0.02@0.9")
STRETCH: Final = 4_000
"""Payments decided, of which the question's are valued at a time."""
SHARES: Final = (1.0, 0.5)
"""Of payments that follow the candidate; the rest goes as it was logged."""


class Setting(NamedTuple):
    """How a question's logs are made."""

    worlds: tuple[str, ...]
    payments: int
    """Decided for each payment that `truth` is asked for: questions that few payments are about need more."""
    kinds: tuple[Kind, ...]
    effect_share: float
    """What is to be shown, stated beforehand: of the gross that a row brings on average."""
    prices: Multipliers = FREE
    in_stretches: bool = True
    """Or as one, where payments are few."""


SETTINGS: Final = {
    "route": Setting(WORLDS, 1, ("route",), 0.03),
    "release": Setting(("subscriptions",), 1, ("release",), 0.2, prices=DEAR),
    "retry": Setting(("europe",), 5, ("route",), 0.5, in_stretches=False),
}
ERRORS_CLEAR: Final = 2.0
COVERAGE_MIN: Final = 0.93
WRONG_MAX: Final = 0.025
CHANCE: Final = 0.05
"""A share below its limit is a breach where chance alone would seldom bring it there."""
BUILT: Final = 400
"""Payments of a case that is built to be refused."""


class Trial(Struct, frozen=True, kw_only=True):
    """One candidate on one stretch; money per 1,000 payments, of the claimed steps."""

    question: str
    world: str
    candidate: str
    stretch: int
    accepted: bool
    value: float | None
    low: float
    high: float
    truth: float
    """Over the whole log."""
    truth_se: float
    claimed: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def clear(self) -> bool:
        """The truth itself is surely not zero."""
        return abs(self.truth) > ERRORS_CLEAR * self.truth_se

    @property
    def shows(self) -> bool:
        """So large a difference that this very stretch should show its sign: beyond the error of truth and estimate."""
        se = (self.high - self.low) / 2.0 / 1.96
        return bool(abs(self.truth) > ERRORS_CLEAR * (self.truth_se**2 + se**2) ** 0.5)

    @property
    def claims(self) -> bool:
        """The interval says a sign."""
        return self.low > 0.0 or self.high < 0.0

    @property
    def covered(self) -> bool:
        return self.low <= self.truth <= self.high

    @property
    def agrees(self) -> bool:
        return self.value is not None and self.value * self.truth > 0.0

    @property
    def wrong(self) -> bool:
        """An interval beyond zero on the other side than the truth."""
        return self.clear and ((self.low > 0.0 and self.truth < 0.0) or (self.high < 0.0 and self.truth > 0.0))


class Built(Struct, frozen=True, kw_only=True):
    """A case in which nothing can be known."""

    question: str
    world: str
    name: str
    refused: bool
    reasons: tuple[str, ...]


class Truth(Struct, frozen=True, kw_only=True):
    """What the proof found."""

    trials: tuple[Trial, ...]
    built: tuple[Built, ...]
    payments: int

    def summary(self, question: str = "", world: str = "") -> dict[str, float]:
        """Of one question and world, or of all."""
        ours = [t for t in self.trials if question in ("", t.question) and world in ("", t.world)]
        told = [t for t in ours if t.accepted]
        clear = [t for t in told if t.clear]
        built = [b for b in self.built if question in ("", b.question) and world in ("", b.world)]
        return {
            "trials": len(ours),
            "accepted": len(told),
            "coverage": share([t.covered for t in told]),
            "clear": len(clear),
            "claims": sum(t.claims for t in clear),
            "sign_agreement": share([t.agrees for t in clear]),
            "wrong_sign_claims": share([t.wrong for t in told], nothing=0.0),
            "coverage_of_all": share([t.covered for t in ours if t.value is not None]),
            "refused_as_built": share([b.refused for b in built]),
        }

    @property
    def breaches(self) -> tuple[str, ...]:
        found = self.summary()
        told = [t for t in self.trials if t.accepted]
        clear = [t for t in told if t.clear]
        breached = {
            "nothing was accepted": not told,
            "no difference was clear enough for its sign to be judged": not clear,
            "accepted intervals missed the truth too often": too_few([t.covered for t in told], COVERAGE_MIN),
            "too many claims have the wrong sign": too_few([not t.wrong for t in told], 1.0 - WRONG_MAX),
            "clear differences were given the wrong sign": too_few(
                [t.agrees for t in clear if t.shows], 1.0 - WRONG_MAX
            ),
            "a case that nobody can know was not refused": found["refused_as_built"] < 1.0,
        }
        return tuple(why for why, is_so in breached.items() if is_so)

    @property
    def powerless(self) -> tuple[str, ...]:
        """Checks that say nothing of a question: they pass even if all of its trials are wrong, and no other's."""
        told = [t for t in self.trials if t.accepted]
        shown = [t for t in told if t.clear and t.shows]
        checks = (
            ("coverage", COVERAGE_MIN, told, told),
            ("wrong claims", 1.0 - WRONG_MAX, told, [t for t in told if t.clear and t.claims]),
            ("signs", 1.0 - WRONG_MAX, shown, shown),
        )
        found = []
        for question in dict.fromkeys(t.question for t in self.trials):
            for what, least, looked_at, may_be_wrong in checks:
                ours = sum(t.question == question for t in may_be_wrong)
                if not too_few([False] * ours + [True] * (len(looked_at) - ours), least):
                    found.append(f"{question}: {what} cannot fail, with {ours} of {len(looked_at)} trials")
        return tuple(found)


def too_few(flags: Sequence[bool], least: float) -> bool:
    """Fewer than chance leaves where each is true with probability `least`: in less than one case in twenty.

    >>> too_few([True] * 5 + [False], 0.93), too_few([True] * 12 + [False] * 4, 0.93)
    (False, True)
    """
    n, hits = len(flags), sum(flags)
    return n > 0 and sum(comb(n, k) * least**k * (1.0 - least) ** (n - k) for k in range(hits + 1)) < CHANCE


def share(flags: Sequence[bool], *, nothing: float = float("nan")) -> float:
    """
    >>> share([True, False]), share([], nothing=0.0)
    (0.5, 0.0)
    """
    return sum(flags) / len(flags) if flags else nothing


Known = dict[str, dict[str, Floats]]
"""By attempt: option -> float64[STEPS], true expected money."""
NOTHING: Final = np.zeros(len(STEPS))


def steps_of(terms: Terms) -> Floats:
    """A declined payer is charged V_stop: nothing is tried again in these logs."""
    stopped = terms.friction + terms.declined * terms.stop
    return np.array(
        [terms.margin, terms.fees + terms.authentication, terms.fraud_loss, terms.dispute, terms.review, stopped]
    )


def ways_of(record: DecisionRecord) -> Iterator[tuple[str, Action]]:
    """Of the intervention that was chosen."""
    chosen = record.chosen
    wanted = (chosen.action.intervention, chosen.action.exemption)
    for action in chosen.actions:
        if (action.intervention, action.exemption) == wanted:
            yield f"{action.route}/{action.credential}", action


def releases_of(record: DecisionRecord) -> Iterator[tuple[str, Action]]:
    """The block, and what would pass in its place."""
    may = record.chosen.may
    if may.size > 1:
        yield BLOCKED, may.action(may.size - 1)
        yield PASSED, may.action(passed_place(record.chosen))


@dataclass
class Watcher:
    """Writes down what is true of the options that a decision had by the question's factor."""

    question: str
    known: Known = field(default_factory=dict)

    def __call__(self, arrival: Arrival, entry: Entry, record: DecisionRecord, living: Living) -> None:
        if entry.facts is None or (record.further is not None) != (self.question == "retry"):
            return
        economics = living.world.economics[arrival.attempt.payment.merchant_id]
        options = releases_of(record) if self.question == "release" else ways_of(record)
        self.known[entry.facts.attempt_id] = {
            name: steps_of(living.true_terms(arrival, sent_of(action, entry.ingest_us, record.attempt_no), economics))
            for name, action in options
        }


@dataclass(frozen=True, eq=False)
class Log:
    """A question's decisions, first axis rows, and what is true of each option."""

    question: str
    rows: Traffic | Climbed
    worth: Floats
    """float64[rows, (steps,) options, STEPS]"""

    @property
    def gross(self) -> float:
        return float(self.rows.money[..., 0].sum() / len(self.rows.money))

    def targets(self) -> Mapping[str, Floats]:
        """Release bands; or routers and the worst one, wholly and for half of the payments."""
        if self.question == "release":
            assert isinstance(self.rows, Traffic), "retries alone are ladders"
            return {band: releaser(self.rows, band) for band in BANDS}
        if isinstance(self.rows, Climbed):
            routed = {name: self.rows.target(name) for name in self.rows.scores}
            upside_down = replace(self.rows, scores={"": -self.rows.scores["best value"]})
            routed["worst value"] = upside_down.target("")
        else:
            routed = {name: routes(self.rows) for name, routes in ROUTERS.items()}
            routed["worst value"] = greedy(-self.rows.value, self.rows.open_to)
        mixed = ((name, part, part * each + (1.0 - part) * self.rows.logging) for name, each in routed.items() for part in SHARES)  # fmt: skip # noqa: E501 - one line reads best
        return {name if part == 1.0 else f"{name}, for {part:.0%}": target for name, part, target in mixed}

    def differences(self, target: Floats) -> Floats:
        """float64[rows, STEPS]: true expected money under the target less that under the policy that was logged."""
        rows, worth = self.rows, self.worth
        if isinstance(rows, Traffic):
            return np.asarray(((target - rows.logging)[:, :, None] * worth).sum(axis=1))
        taken = np.arange(target.shape[1]) < rows.steps[:, None]
        own = [np.take_along_axis(policy, rows.action[:, :, None], 2)[:, :, 0] for policy in (target, rows.logging)]
        ratio = np.where(taken, own[0] / np.where(taken, own[1], 1.0), 1.0)
        before = np.cumprod(np.concatenate([np.ones((len(ratio), 1)), ratio[:, :-1]], axis=1), axis=1) * taken
        policy = before[:, :, None] * target - taken[:, :, None] * rows.logging
        return np.asarray((policy[..., None] * worth).sum(axis=(1, 2)))

    def judged(self, target: Floats, rows: slice, *, effect: float | None) -> Claims:
        """Of these rows, as if they were all there is."""
        part = taken(self.rows, rows)
        if isinstance(part, Climbed):
            return answered(part, target[rows], effect=effect).claims
        return judged(case_of(part), target[rows], np.ones(len(part), bool), effect=effect)


def logged(question: str, name: str, payments: int, directory: Path, *, explored: bool, progress: Progress) -> Log:
    """A world's log; not `explored`: by the best action always."""
    setting, watcher = SETTINGS[question], Watcher(question)
    kinds = setting.kinds if explored else ()
    decide_world(
        World.load(name), 1, payments, directory, exploring=FLAT, kinds=kinds, tries=question == "retry",
        prices=setting.prices, progress=progress, watch=watcher,
    )  # fmt: skip
    reader = open_reader(directory)
    if question == "retry":
        fold = Ladders(reader.settings.perspective).take(reader.entries())
        return Log(question, climbed(fold), worth_of_ladders(fold, climbed(fold), watcher.known))
    traffic = read(reader, question, from_us=0, to_us=2**62, progress=lambda *_: None)
    worth = np.stack([worth_of(watcher.known[row.facts.attempt_id], traffic.names) for row in traffic.rows])
    return Log(question, traffic, worth)


def worth_of(options: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    return np.array([options.get(name, NOTHING) for name in names])


def worth_of_ladders(fold: Ladders, found: Climbed, known: Known) -> Floats:
    """V_stop is due where nothing more is tried: at each step for the share of declines after which nothing was."""
    worth = np.zeros((*found.logging.shape, len(STEPS)))
    for i, ladder in enumerate(fold.found.values()):
        for t, tried in enumerate(ladder.tries):
            worth[i, t] = worth_of(known[tried.attempt_id], found.names)
    for t in range(worth.shape[1]):
        declined = (found.steps > t) & (found.approved[:, t] == 0.0)
        if declined.any():
            worth[:, t, :, STEPS.index("friction")] *= float((found.steps[declined] == t + 1).mean())
    return worth


def taken(log: Traffic | Climbed, rows: slice) -> Traffic | Climbed:
    """A stretch of it."""
    n = len(log.logging)

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cut(each) for name, each in value.items()}
        return value[rows] if isinstance(value, np.ndarray | list) and len(value) == n else value

    return replace(log, **{f.name: cut(getattr(log, f.name)) for f in fields(log)})


def trials_of(world: str, log: Log, *, stretches: int) -> Iterator[Trial]:
    """Stretch by stretch, every candidate."""
    n, effect, card = len(log.worth), SETTINGS[log.question].effect_share * log.gross, Groups.of(log.rows.card)
    for name, target in log.targets().items():
        true = log.differences(target)
        for number in range(stretches):
            rows = slice(n * number // stretches, n * (number + 1) // stretches)
            found = log.judged(target, rows, effect=effect)
            each, total = true[:, [STEPS.index(step) for step in found.claimed]].sum(axis=1), found.claim
            variance, _ = card.variance(each / n)
            yield Trial(
                question=log.question, world=world, candidate=name, stretch=number, accepted=found.verdict.accepted,
                value=total.value, low=total.low, high=total.high, truth=PER * float(each.mean()),
                truth_se=PER * variance**0.5, claimed=found.claimed, reasons=found.verdict.reasons,
            )  # fmt: skip


def built_of(world: str, log: Log, directory: Path) -> Iterator[Built]:
    """A log that explored nothing, asked about each single way; and a log that is far too short."""
    asked = [(f"too few: {name}", log, target, slice(0, BUILT)) for name, target in log.targets().items()]
    if log.question == "route":
        only = logged("route", world, BUILT, directory, explored=False, progress=lambda *_: None)
        assert isinstance(only.rows, Traffic), "retries alone are ladders"
        for at, name in enumerate(only.rows.names):
            one = np.eye(len(only.rows.names))[np.full(len(only.worth), at)]
            target = np.where(only.rows.open_to[:, [at]], one, only.rows.logging)
            if (target != only.rows.logging).any():
                asked.append((f"no support: {name}", only, target, slice(None)))
    for name, each, target, rows in asked:
        verdict = each.judged(target, rows, effect=None).verdict
        refused, reasons = not verdict.accepted, verdict.reasons
        yield Built(question=log.question, world=world, name=name, refused=refused, reasons=reasons)


def truth(
    worlds: Sequence[str] = (), *, questions: Sequence[str] = tuple(SETTINGS), payments: int = 12_000,
    stretch: int = STRETCH, progress: Progress = lambda _done, _of: None,
) -> Truth:  # fmt: skip
    """Every question in its worlds, or in those that are named; a log of `payments` each, or a stated multiple."""
    trials, built = list[Trial](), list[Built]()
    asked = [(question, world) for question in questions for world in worlds or SETTINGS[question].worlds]
    for place, (question, world) in enumerate(asked):

        def tell(done: int, of: int, before: int = place) -> None:
            progress(before * of + done, of * len(asked))

        with TemporaryDirectory() as room:
            whole = payments * SETTINGS[question].payments
            log = logged(question, world, whole, Path(room) / "log", explored=True, progress=tell)
            stretches = max(1, payments // stretch) if SETTINGS[question].in_stretches else 1
            trials += trials_of(world, log, stretches=stretches)
            built += built_of(world, log, Path(room) / "greedy")
    return Truth(trials=tuple(trials), built=tuple(built), payments=payments)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", action="append", help="may be given again; default: those stated for the question")
    parser.add_argument("--question", action="append", choices=tuple(SETTINGS), help="may be given again; default: all")
    parser.add_argument(
        "--payments", type=int, default=12_000, help="decided live in each world; five times as many of retries"
    )
    parser.add_argument("--stretch", type=int, default=STRETCH, help="payments valued at a time")
    parser.add_argument("--json", type=Path, help="write every trial to this file")
    given = parser.parse_args()
    with progress("deciding and valuing") as tell:
        found = truth(
            given.world or (), questions=given.question or list(SETTINGS), payments=given.payments,
            stretch=given.stretch, progress=tell,
        )  # fmt: skip
    pairs = dict.fromkeys((each.question, each.world) for each in found.built)
    summaries = {" ".join(pair): found.summary(*pair) for pair in pairs} | {"all": found.summary()}
    said = {"summary": summaries, "breaches": found.breaches, "powerless": found.powerless,
            "trials": found.trials, "built": found.built}  # fmt: skip
    write_json(said, given.json)
    columns = ["question", "trials", "accepted", "covered", "clear", "claimed", "signs agree", "wrong claims",
               "refused as built"]  # fmt: skip
    counts = ("trials", "accepted", "clear", "claims")
    shares = ("sign_agreement", "wrong_sign_claims", "refused_as_built")
    figures = ("trials", "accepted", "coverage", "clear", "claims", *shares)
    rows = [
        (name, *(f"{one[figure]}" if figure in counts else f"{one[figure]:.1%}" for figure in figures))
        for name, one in summaries.items()
    ]
    print_table(f"{given.payments:,} payments in each world, {given.stretch:,} valued at a time", columns, rows)
    for check in found.powerless:
        out.print(f"no power: {check}")
    for breach in found.breaches:
        err.print(f"breach: {breach}")
    return int(bool(found.breaches))


if __name__ == "__main__":
    sys.exit(main())
