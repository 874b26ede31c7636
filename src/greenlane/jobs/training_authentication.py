"""From the journal to what is believed of 3-D Secure: answers, a table by issuer, judged on later answers, in force."""

from pathlib import Path
from typing import Final, NamedTuple

from greenlane.decisions.live import AUTHENTICATION
from greenlane.errors import TrainingError
from greenlane.jobs.training_recovery import put_in_force
from greenlane.learning.authentication_set import Judged, answers, judge, learned
from greenlane.policy.authenticating import AuthenticationTable
from greenlane.wiring import Progress, open_reader

HELD_OUT_SHARE: Final = 0.2
ANSWERS_MIN: Final = 200


class TrainedAuthentication(NamedTuple):
    table: AuthenticationTable
    judged: Judged
    """How a table of the first four fifths did on the last."""


def train_authentication(directory: Path, *, promote: bool = True, progress: Progress) -> TrainedAuthentication:
    """Learn who passes 3-D Secure, and put it in force. TrainingError where there is too little to learn."""
    reader = open_reader(directory)
    _, last = reader.store.span()
    found = list(answers(reader.entries(progress=progress)))
    if len(found) < ANSWERS_MIN:
        raise TrainingError(
            f"{len(found)} authentications are too few to learn from",
            hint="import history with authentications, or wait; the stated priors answer until then",
        )
    cut = int(len(found) * (1.0 - HELD_OUT_SHARE))
    judged = judge(learned(found[:cut]), found[cut:])
    table = learned(found)
    if promote:
        put_in_force(reader, AUTHENTICATION, table, why=f"learned from the journal up to entry {last}")
    return TrainedAuthentication(table, judged)


def authentication_figures(trained: TrainedAuthentication) -> list[tuple[str, str]]:
    """The judgement, and the shares by country, as lines of a table."""
    checks = [
        (f"{stage}: {c.name}", f"{c.value:.3f} ({c.low:.3f} to {c.high:.3f}) {c.state}")
        for stage, found in trained.judged.stages.items()
        for c in found
    ]
    shares = [
        (
            country,
            f"{good.frictionless_ppm / 10_000:.1f} % frictionless, {good.success_ppm / 10_000:.1f} % pass when asked",
        )
        for country, good in trained.table.countries.items()
    ]
    return [("calibration on held-out time", trained.judged.verdict), *checks, *shares]
