"""The answer of a decision, in the words of the API: rebuilt from the record, so that nothing is stored twice."""

from collections.abc import Mapping
from typing import Literal

from greenlane.payments.attempt import Frozen

Intervention = Literal["allow", "exempt", "challenge", "review", "block"]


class Action(Frozen, frozen=True):
    """What to do: `exemption` and `credential` only where one was chosen."""

    intervention: Intervention
    route: str | None = None
    credential: str | None = None
    exemption: str | None = None
    fallback_routes: tuple[str, ...] = ()
    """Only for attempts that provably never left: every other cascade asks again."""


class ExpectedValue(Frozen, frozen=True):
    """Expected money in minor units of the reporting currency; the terms sum to the value."""

    value_minor: float
    terms: dict[str, float]
    other_perspective: dict[str, float]
    """The same terms and their sum, `value`, for whom the policy does not optimise: psp or merchant; of a next action
    none."""


class Probabilities(Frozen, frozen=True):
    """Each number's event is named. `approval_probability` is by route, or route/credential where some take both."""

    fraud_probability: float
    """P(would be reported as third-party fraud, if approved unauthenticated)."""
    fraud_given_approval_probability: float
    fraud_given_decline_probability: float
    dispute_probability: float
    """P(first-party dispute), whatever the authentication."""
    challenge_success_probability: float
    soft_decline_probability: float
    """P(1A or 65), if an exemption were asked for over the chosen way."""
    approval_probability: dict[str, float]


class RunnerUp(Frozen, frozen=True):
    """The best other action, and how much less it was worth: below 0 where exploration took a lesser one."""

    action: Action
    value_gap_minor: float


class Reason(Frozen, frozen=True):
    """A feature group's path contribution to the fraud margin; all groups and the base add up to the margin.

    A decision without a model has none: `degraded` says why.
    """

    code: str
    text: str
    contribution_log_odds: float


class Exploration(Frozen, frozen=True):
    """With what probability this action could have been chosen.

    `distribution` are integers that sum to 2^32; an action that it does not name had no probability.
    """

    explored: bool
    propensity: dict[str, float]
    distribution: dict[str, int]
    policy_epoch: int
    kind: str | None = None


class Versions(Frozen, frozen=True):
    """Everything an answer depends on, by content hash."""

    engine: str
    runtime: str
    models: dict[str, str]
    features: str
    policy: str
    rules: str = "none"


class JournalPosition(Frozen, frozen=True):
    generation: int
    seq: int


class Decision(Frozen, frozen=True):
    """Our recorded answer. `features` only with `?expand=features`."""

    id: str
    payment_id: str
    attempt_id: str
    attempt_no: int
    stage: str
    mode: str
    created: str
    action: Action
    expected_value: ExpectedValue | None
    probabilities: Probabilities | None
    multipliers: dict[str, float]
    runner_up: RunnerUp | None
    reasons: tuple[Reason, ...]
    rule_hits: tuple[str, ...]
    exploration: Exploration
    versions: Versions
    inputs_hash: str
    journal_position: JournalPosition
    latency_us: int
    degraded: tuple[str, ...]
    experiments: Mapping[str, str] = {}
    """The arm of each experiment that it was made in."""
    features: dict[str, float | None] | None = None


class NextAction(Decision, frozen=True, kw_only=True):
    """What to do next: a Decision whose `action` is what leaves now, or is planned for `at`; None where nothing is.

    `attempt_id` is the attempt that is granted (retry_now), or else the one that is meant.
    """

    action: Action | None  # type: ignore[assignment] # a decision always acts; what comes next may be nothing
    exploration: Exploration | None  # type: ignore[assignment] # likewise: None where nothing leaves now
    next: str
    """authorize, retry_now, retry_at, repair, reoffer, query_or_reverse, void, capture, stop."""
    at: str
    """When."""
    route: str | None = None
    changes: tuple[str, ...] = ()
    """What has to be different: challenge, no_exemption, other_route, account_updater, ..."""
    stop_reason: str | None = None
    attempts_used: int = 0
    attempts_cap: int = 0
    limit_rule: str | None = None
    """The rule that forbids, or else has least left."""
    capturable_amount: int | None = None
    """Of a capture: what may be captured at most, in the payment's minor units."""


class DecisionList(Frozen, frozen=True):
    data: tuple[Decision, ...]
    has_more: bool
    next_cursor: str | None = None
