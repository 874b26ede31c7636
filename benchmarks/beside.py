"""A third model in the path of a decision: an approval challenger, asked about whatever its champion is asked about.

A decision by itself asks two models. As many questions again are put to a model of the same size, as they would be to
one in shadow; its answers are thrown away.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from greenlane.models.approval_model import ApprovalModel, load_approval
from greenlane.payments.attempt import Attempt
from greenlane.payments.facts import Facts
from greenlane.policy.actions import Way
from greenlane.policy.approving import situation_of
from greenlane.policy.gather import ApprovalBelief
from greenlane.policy.history import History
from greenlane.policy.priors import Approval
from greenlane.wiring import System


class Beside(ApprovalBelief):
    """The champion's beliefs, the challenger asked first."""

    def __init__(self, champion: ApprovalBelief, challenger: ApprovalModel):
        self.champion, self.challenger = champion, challenger

    def approvals(
        self, attempt: Attempt, facts: Facts, ways: Sequence[Way], *, history: History, at_us: int
    ) -> tuple[Approval, ...]:
        told = self.challenger.predict(situation_of(attempt, facts, history, at_us=at_us), ways)
        assert len(told) == len(ways), "the challenger answers for every way"
        return self.champion.approvals(attempt, facts, ways, history=history, at_us=at_us)


def third_model(system: System, directory: Path) -> None:
    """Puts the shop's challenger into the path."""
    name = msgspec.json.decode((directory / "bench_challenger.json").read_bytes())
    folds = system.lane.folds
    assert folds.approvals is not None, "a system has its beliefs"
    folds.approvals = Beside(folds.approvals, load_approval(system.places.models / name))
