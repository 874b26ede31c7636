"""What is live: the feature sets and model aliases, as a fold of control entries."""

from typing import Final

import msgspec

from greenlane.decisions.control import ControlRecord, control_of
from greenlane.errors import NotFound
from greenlane.features.definition import FeatureSet
from greenlane.policy.authenticating import UNLEARNED, AuthenticationTable
from greenlane.policy.parameters import Policy
from greenlane.policy.recovery import STATED, RecoveryTable
from greenlane.ports.journal import Entry

FEATURES: Final = "features"
MODEL: Final = "model"
POLICY: Final = "policy"
RECOVERY: Final = "recovery"
AUTHENTICATION: Final = "authentication"
REGISTRATION: Final = "registration"
"""A model's card, written when it was registered."""
GATES: Final = "gates"
"""What the gates said of a promotion that went ahead."""
CHAMPION: Final = "fraud/champion"
APPROVAL_CHAMPION: Final = "approval/champion"


class Live:
    """A fold. `features` is the live set (None before the first is declared), `aliases` what each model alias names.

    >>> from greenlane.decisions.control import RECORD_ENCODER
    >>> live = Live()
    >>> change = RECORD_ENCODER.encode(alias_change(live, CHAMPION, "mdl_1", who="anna", why="first model"))
    >>> live.apply(Entry(1, 1, 0, "control", "cli", "1", 0, 0, 1, b"", None, change))
    >>> live.aliases, live.previous(CHAMPION)
    ({'fraud/champion': 'mdl_1'}, '')
    """

    def __init__(self) -> None:
        self.features: FeatureSet | None = None
        self.known_features: dict[str, FeatureSet] = {}
        self.policies: dict[str, Policy] = {}
        """Every policy that ever was in force, by version."""
        self.recovery = STATED
        """What a declined payment is believed to be still worth."""
        self.authentication = UNLEARNED
        """What is believed of good payers in 3-D Secure."""
        self.aliases: dict[str, str] = {}
        self.moves: list[tuple[int, ControlRecord]] = []
        """Every move of an alias, with the seq it happened at: the audit."""

    def apply(self, entry: Entry) -> None:
        if entry.kind != "control":
            return
        record = control_of(entry)
        if record.subject == FEATURES:
            self.features = msgspec.convert(record.after, FeatureSet)
            self.known_features[self.features.digest] = self.features
        elif record.subject == POLICY:
            self.policies[record.id] = msgspec.convert(record.after, Policy)
        elif record.subject == RECOVERY:
            self.recovery = STATED if record.after is None else msgspec.convert(record.after, RecoveryTable)
        elif record.subject == AUTHENTICATION:
            told = record.after
            self.authentication = UNLEARNED if told is None else msgspec.convert(told, AuthenticationTable)
        elif record.subject == MODEL:
            self.aliases = {**self.aliases, record.id: str(record.after or "")}
            self.moves.append((entry.seq, record))

    @property
    def digest(self) -> str:
        """Of the live features; "" before there are any."""
        return "" if self.features is None else self.features.digest

    def previous(self, alias: str) -> str:
        """The model that the alias named before its last move, or ""."""
        moves = [record for _, record in self.moves if record.id == alias]
        return str(moves[-1].before or "") if moves else ""


def alias_change(live: Live, alias: str, model_id: str, *, who: str, why: str) -> ControlRecord:
    return ControlRecord(MODEL, alias, who, why, live.aliases.get(alias), model_id)


def rollback_change(live: Live, alias: str, *, who: str, why: str) -> ControlRecord:
    """Back to the model before the last move; NotFound where there is none."""
    previous = live.previous(alias)
    if not previous:
        raise NotFound(f"{alias} never named another model", hint="see `greenlane models list`")
    return alias_change(live, alias, previous, who=who, why=why)


def features_change(features: FeatureSet, before: FeatureSet | None, *, who: str, why: str) -> ControlRecord:
    was = None if before is None else before.digest
    return ControlRecord(FEATURES, features.digest, who, why, was, msgspec.to_builtins(features))


def policy_change(policy: Policy, *, who: str, why: str) -> ControlRecord:
    return ControlRecord(POLICY, policy.version, who, why, None, msgspec.to_builtins(policy))
